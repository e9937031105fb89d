"""The data sources by name: each gives a `Pool`.

>>> pool = load("digits_table")
>>> pool.x.shape, pool.domains
((1797, 64), ('digits_table',))
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...accountant import check
from ...accountant.errors import ConfigError
from . import digits, tables
from .emoji import load_emoji
from .fashion import Part, load_fashion_mnist
from .folder import load_folder
from .pool import Pool, pool_of


@dataclass(frozen=True)
class Source:
    """One entry of the table.

    Attributes:
        load: takes the options of the source as keywords.
        what: one line for a person.
        assets: what must have been fetched before.
    """

    load: Callable[..., Pool]
    what: str
    assets: tuple[str, ...] = ()


def load(name: str, **options: object) -> Pool:
    """The pool of a source.

    Args:
        name: an entry of `SOURCES`.
        options: of that source; an unknown or missing one is an error.

    Raises:
        ConfigError: no such source, wrong options, or data that cannot be used.
        AssetError: an asset is missing or has a wrong hash.
    """
    if name not in SOURCES:
        raise ConfigError(f"source must be {check.suggest(name, SOURCES)}")
    source = SOURCES[name]
    known = inspect.signature(source.load).parameters
    for option in options:
        if option not in known:
            wanted = check.suggest(option, known) if known else f"left out, but is {option!r}"
            raise ConfigError(f"an option of source {name!r} must be {wanted}")
    missing = [
        key for key, each in known.items() if each.default is each.empty and key not in options
    ]
    if missing:
        raise ConfigError(f"source {name!r} needs the option {missing[0]!r}")
    return source.load(**options)


def _digit_domains(*, per_class: int, seed: int, domains: tuple[str, ...] = digits.DOMAINS) -> Pool:
    sets = [digits.load_domain(each, per_class=per_class, seed=seed) for each in domains]
    return pool_of(sets, name="digit_domains")


def _optdigits(*, per_class: int, seed: int) -> Pool:
    found = digits.load_domain("optdigits", per_class=per_class, seed=seed)
    return pool_of([found], name="optdigits")


def _synth(*, per_class: int, seed: int) -> Pool:
    return pool_of([digits.load_domain("synth", per_class=per_class, seed=seed)], name="synth")


def _fashion_mnist(*, part: Part = "train") -> Pool:
    return pool_of([load_fashion_mnist(part)], name="fashion_mnist")


def _emoji() -> Pool:
    return pool_of(load_emoji(), name="emoji")


def _folder(*, path: str | Path, size: int = 96) -> Pool:
    return pool_of(list(load_folder(path, size=size).values()), name="folder")


SOURCES = {
    "digit_domains": Source(
        _digit_domains, "digits of four domains: mnist, optdigits, mnist_m, synth", ("mnist-5k",)
    ),
    "optdigits": Source(_optdigits, "scikit-learn's digits as pictures"),
    "synth": Source(_synth, "digits drawn by a program, any number"),
    "fashion_mnist": Source(_fashion_mnist, "70,000 pictures of clothes", ("fashion-mnist",)),
    "emoji": Source(
        _emoji, "emoji of five groups in two drawing styles", ("emoji-noto", "emoji-twemoji")
    ),
    "folder": Source(_folder, "your pictures, laid out as DOMAIN/CLASS/PICTURE.png"),
    "digits_table": Source(tables.digits_table, "scikit-learn's digits as 64 numbers"),
    "breast_cancer_table": Source(tables.breast_cancer_table, "569 biopsies as 30 numbers"),
}
