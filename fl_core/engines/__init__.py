"""Where local work is done. The results do not depend on it."""
