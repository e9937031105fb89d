"""Scores in, a valid lower bound out."""
