"""The command line: one file per group of verbs; each parses and calls one function."""
