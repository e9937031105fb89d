"""Models: frozen public encoders and the small heads that clients train."""
