"""Dossiers: what is claimed of a published system, and what exact accounting says."""
