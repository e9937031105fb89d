"""The report as PDF, with WeasyPrint (extra `pdf`); printing the HTML always works too."""

import os
from pathlib import Path
from typing import Any

from ...accountant.errors import ConfigError


def write_pdf(html: str, path: Path) -> None:
    """Write the report `html` as PDF, atomically. Nothing is fetched.

    Raises:
        ConfigError: WeasyPrint is not installed.
    """
    try:
        import weasyprint
    except (ImportError, OSError):  # OSError: its system libraries are missing
        raise ConfigError(
            "a PDF needs WeasyPrint, which is not installed or cannot start.\n"
            "  pip install 'privassay[pdf]', or print report.html from a browser."
        ) from None

    partial = path.with_suffix(".partial")
    weasyprint.HTML(string=html, url_fetcher=_fetcher(weasyprint)).write_pdf(partial)
    os.replace(partial, path)


def _fetcher(weasyprint: Any) -> Any:
    """Opens data: addresses and no other."""
    modern = getattr(weasyprint.urls, "URLFetcher", None)
    if modern is not None:
        return modern(allowed_protocols=("data",), fail_on_errors=True)

    def fetch(url: str, *arguments: Any, **options: Any) -> Any:
        if not url.startswith("data:"):
            raise ConfigError(f"the report asks for {url[:80]!r}; a report fetches nothing")
        return weasyprint.default_url_fetcher(url, *arguments, **options)

    return fetch
