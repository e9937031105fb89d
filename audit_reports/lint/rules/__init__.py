"""One family of rules a file; each rule reads a declaration and gives findings."""
