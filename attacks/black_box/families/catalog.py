"""All families by name, as "module:class", in the order in which ties are decided.

A new one is one file and one line here. "combined" is not among them: it weighs what they found.
"""

_HERE = "privassay.attacks.black_box.families"

FAMILIES: dict[str, str] = {
    "unnoised": f"{_HERE}.unnoised:Unnoised",
    "frequency": f"{_HERE}.frequency:Frequency",
    "coordinate": f"{_HERE}.coordinate:Coordinate",
    "linear": f"{_HERE}.linear:Linear",
    "quadratic": f"{_HERE}.quadratic:Quadratic",
    "additive": f"{_HERE}.additive:Additive",
    "sums": f"{_HERE}.sums:Sums",
    "norms": f"{_HERE}.norms:Norms",
    "patterns": f"{_HERE}.patterns:Patterns",
    "atoms": f"{_HERE}.atoms:Atoms",
    "differences": f"{_HERE}.differences:Differences",
    "bits": f"{_HERE}.bits:Bits",
    "neighbours": f"{_HERE}.neighbours:Neighbours",
    "trees": f"{_HERE}.trees:Trees",
}

NEEDS: dict[str, str] = {"trees": "sklearn"}
"""Packages beyond the core, by family; a family whose package is missing is left out."""
