"""Renderers: they read a record and nothing else."""
