"""An event in a JSON file, as `account` and the black-box verbs take it."""

import json
from pathlib import Path
from typing import Any

from ...accountant.errors import ConfigError


def read_event(file: Path) -> Any:
    """The event in `file`.

    Raises:
        ConfigError: the file cannot be read, is not JSON, or holds no event.
    """
    from ...accountant.event_json import from_dict

    try:
        return from_dict(json.loads(file.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        raise ConfigError(f"{file} cannot be read: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} cannot be read as an event: {error}") from None
