"""Models whose parameters have a leading row axis: one row per client and replica."""
