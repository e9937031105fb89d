"""Probes: run user code on neighbouring data, with and without noise, and report what leaks.

A probe takes plain callables, so that any program can be probed. It gives a `Finding`; a probe
that is silent proves nothing, one that fires shows a pair of inputs or a number. `run.probe(hook)`
runs all that a description of the program allows. The manual is docs/probes.md.
"""
