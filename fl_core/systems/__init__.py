"""Whole published systems as rows of a comparison: what each leaks, and how good it is."""
