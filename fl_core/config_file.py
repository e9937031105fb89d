"""The one reader of TOML: audit files, comparison files and declarations are read alike."""

import tomllib
from pathlib import Path
from typing import Any

from ..accountant.errors import ConfigError

_BOM = "\ufeff"  # some editors put it before the text; it is no part of it


def read(path: Path, *, wanted: str, missing: str) -> dict[str, Any]:
    """What the TOML file at `path` says, before any check of it.

    Args:
        path: the file; UTF-8, with or without a byte order mark.
        wanted: what should be given, such as "an audit file (TOML)".
        missing: the message if there is no such file.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(missing) from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; give {wanted}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}.\n  Give {wanted}.") from None
    return parse(text, name=str(path))


def parse(text: str, *, name: str) -> dict[str, Any]:
    r"""What this TOML says; `name` is that of the file, for messages.

    Raises:
        ConfigError: it is not TOML, or a number in it has thousands of digits.

    >>> parse("\ufeffseed = 3", name="a.toml")
    {'seed': 3}
    """
    try:
        return tomllib.loads(text.removeprefix(_BOM))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{name} is not valid TOML: it is nested too deeply") from None
    except ValueError:  # Python reads no number of more than sys.get_int_max_str_digits() digits
        raise ConfigError(
            f"{name} cannot be used: it holds a number of thousands of digits.\n"
            "  Write a number of at most 18 digits."
        ) from None


def override(data: dict[str, Any], key: str, value: Any) -> None:
    """Put `value` where `key`, such as "training.seeds", points, in the file's content.

    Raises:
        ConfigError: the key goes through something that is no section.
    """
    *sections, last = key.split(".")
    for section in sections:
        inner = data.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {section} is not a section with keys")
        data = inner
    data[last] = value


def shown(value: Any, most: int) -> str:
    """`value` as a message shows it, in about `most` characters.

    >>> shown("x" * 100, 8), shown([1 << 20_000], 8)
    ("'xxxxxxx...", 'a number of thousands of digits')
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits; 0xff... reads one
        return "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."
