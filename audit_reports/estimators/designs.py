"""Which estimator is valid for which design of an experiment; a wrong pair raises."""

from ...accountant.errors import DesignError

DEFAULTS: dict[str, str] = {
    "many_runs": "band",
    "one_run": "one_run_fdp",
    "per_round": "e_process",
    "sequential": "e_process",
}
"""The method for each design where none is named."""

ALLOWED: dict[str, tuple[str, ...]] = {
    "many_runs": (
        "band",
        "split",
        "multi_split",
        "dkw",
        "clopper_pearson",
        "bayesian",
        "guess_count",
        "one_run_fdp",
        "e_process",
    ),
    "one_run": ("one_run_fdp", "guess_count"),
    "per_round": ("e_process", "guess_count"),
    "sequential": ("e_process", "guess_count"),
}
"""Methods by design. "guess_count" under "sequential" needs a number of trials fixed beforehand."""

_WHY = {
    "one_run": "the canaries of one training depend on each other",
    "per_round": "the rounds of one run depend on each other",
    "sequential": "looking after every trial must be paid for",
}


def require_allowed(design: str, method: str) -> None:
    """Raise `DesignError` unless `method` is valid for `design`.

    >>> require_allowed("one_run", "band")
    Traceback (most recent call last):
        ...
    privassay.accountant.errors.DesignError: method "band" is not valid for design "one_run": the \
canaries of one training depend on each other.
      Valid for "one_run": "one_run_fdp" (the default), "guess_count". Repeat the whole run for \
each trial (design "many_runs") to use "band".
    """
    valid = ALLOWED[design]
    if method in valid:
        return
    names = ", ".join(
        f'"{name}" (the default)' if name == DEFAULTS[design] else f'"{name}"' for name in valid
    )
    raise DesignError(
        f'method "{method}" is not valid for design "{design}": {_WHY[design]}.\n'
        f'  Valid for "{design}": {names}. Repeat the whole run for each trial '
        f'(design "many_runs") to use "{method}".'
    )
