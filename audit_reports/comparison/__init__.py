"""A comparison at equal budget: its record, its statistics, and what is said about it."""
