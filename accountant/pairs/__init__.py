"""Dominating pairs: the two laws that an event's worst neighbours have, one class per family."""
