"""The pool of score families: one file and one frozen class each.

A family has a `name` and `learn(training)`, which returns a fitted score or None where it has
nothing to say. A fitted score maps a `Batch` to float[n] and says in words what it looks at.
"""
