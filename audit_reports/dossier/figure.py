"""The figure of a dossier: exact epsilon beside the claim, as bars that need no script."""

import math
from html import escape
from typing import NamedTuple

from .build import Dossier
from .summary import epsilon


class _Bar(NamedTuple):
    label: str
    text: str
    value: float
    kind: str


def bars(made: Dossier) -> str:
    """A figure with a conclusion, a log scale in epsilon, and its data; "" without any epsilon."""
    if not made.accounts:
        return ""
    found = _bars(made)
    finite = [bar.value for bar in found if bar.value < math.inf]
    low = 10.0 ** math.floor(math.log10(min(finite)) - 0.3)
    high = 10.0 ** math.ceil(math.log10(max(finite)) + 1e-9)
    span = math.log10(high / low)
    rows = "".join(
        f'<div class="bar {bar.kind}"><span>{escape(bar.label)}</span>'
        '<span class="track">'
        f'<span style="width:{_width(bar.value, low, span):.2f}%"></span></span>'
        f"<b>{escape(bar.text)}</b></div>\n"
        for bar in found
    )
    ticks = "".join(
        f'<span style="left:{100.0 * k / span:.2f}%">{low * 10.0**k:,g}</span>'
        for k in range(0, round(span) + 1, max(1, round(span / 4)))
    )
    data = "".join(
        f'<tr><th scope="row">{escape(bar.label)}</th><td class="number">{escape(bar.text)}</td>'
        "</tr>"
        for bar in found
    )
    delta = made.accounts[0].delta
    return (
        '<figure aria-label="exact epsilon">\n'
        f"<figcaption>{escape(conclusion(made))}</figcaption>\n{rows}"
        f'<div class="bar axis"><span></span><span class="track">{ticks}</span><b></b></div>\n'
        f'<p class="sub">epsilon (nats) at delta {delta:g}, logarithmic; striped: no bound</p>\n'
        f"<details><summary>Data of the figure</summary>\n<table><thead><tr>"
        f'<th scope="col">what</th><th scope="col" class="number">epsilon at most</th></tr></thead>'
        f"<tbody>{data}</tbody></table></details>\n</figure>"
    )


def conclusion(made: Dossier) -> str:
    """What the figure shows, from the same numbers."""
    released = [a for a in made.accounts if a.mode == "released"]
    sound = [a for a in made.accounts if a.mode == "sound"]
    parts = []
    if released:
        finite = [a for a in released if a.epsilon.upper < math.inf]
        top = max(finite, key=lambda a: a.epsilon.upper)
        claimed = f"{top.claimed:g}"
        parts.append(f"Where {claimed} is claimed, what is bounded reaches {epsilon(top)}")
        if len(finite) < len(released):
            parts[-1] += f", and {len(released) - len(finite)} of {len(released)} have no bound"
    top = max(sound, key=lambda a: a.epsilon.upper)
    parts.append(f"{'t' if parts else 'T'}he sound release stays within {epsilon(top)}")
    return "; ".join(parts) + "."


def _bars(made: Dossier) -> list[_Bar]:
    claims = sorted({a.claimed for a in made.accounts if a.mode == "released"})
    found = [_Bar("claimed", f"{claim:g}", claim, "claim") for claim in claims]
    views: dict[tuple[str, str, float], list[str]] = {}
    texts: dict[float, str] = {}
    for account in made.accounts:
        upper = account.epsilon.upper
        views.setdefault((account.mode, account.what, upper), []).append(account.view)
        texts[upper] = epsilon(account)
    for (mode, what, upper), seen in views.items():
        words = "as released" if mode == "released" else "sound"
        kind = f"none {mode}" if upper == math.inf else mode
        found.append(_Bar(f"{words}, {', '.join(seen)}: {what}", texts[upper], upper, kind))
    return found


def _width(value: float, low: float, span: float) -> float:
    return 100.0 if value == math.inf else 100.0 * math.log10(value / low) / span
