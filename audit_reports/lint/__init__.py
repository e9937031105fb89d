"""Hazards of a declared system, found without running it."""
