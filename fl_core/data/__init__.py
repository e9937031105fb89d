"""Data: real digits, folders of images, and the packaged assets with their pinned hashes."""
