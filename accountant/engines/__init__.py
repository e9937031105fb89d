"""Engines that compose steps into a privacy curve: a contour integral and a certified lattice."""
