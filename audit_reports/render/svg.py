"""From a matplotlib figure to SVG text: the same bytes each time, no request, ids of its own."""

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, FAINT, GRID, PAPER = "#1b1f24", "#5b6570", "#dfe3e8", "#ffffff"
ALLOWED = "#e4edf5"  # the region that the claim allows
# Okabe & Ito's palette, safe for colour-blind readers; never the only difference between two lines.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_FONTS = "'DejaVu Sans', Verdana, Arial, sans-serif"
_SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # ships with matplotlib, so the layout is the same everywhere
    "font.size": 9.0,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.parse_math": False,  # a name with a dollar sign is a name, not a formula
    "legend.frameon": False,
    "legend.handlelength": 2.6,
}


def draw(
    name: str, title: str, size: tuple[float, float], paint: Callable[["Figure"], None]
) -> str:
    """The SVG text of what `paint` draws.

    Args:
        name: of the figure; every id in the file starts with it, so that several fit on one page.
        title: read out by screen readers; not drawn.
        size: width and height in inches.
        paint: draws on the figure it is given.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    settings: Any = _SETTINGS | {"svg.hashsalt": name}
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # whatever the reader's own settings are
        matplotlib.rcParams.update(settings)
        # The reader's browser has fonts of its own for what ours lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
        canvas = FigureCanvasSVG(figure)
        paint(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.print_svg(buffer, metadata=nothing)
    return _embeddable(buffer.getvalue().decode(), f"figure-{name}", title)


def _embeddable(text: str, name: str, title: str) -> str:
    """Drop prolog and metadata, give every id a prefix, scope the style, add the title."""
    text = text[text.index("<svg") :]
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<[^<>]*?\bid=")', rf"\g<1>{name}-", text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace("*{", f"#{name} *{{", 1).replace("'DejaVu Sans'", _FONTS)
    text = re.sub(r' d="[^"]*"', lambda m: re.sub(r"\d+\.\d{3,}", _two_decimals, m[0]), text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    opening = f'<svg id="{name}" role="img" aria-labelledby="{name}-title" '
    head, rest = text.split(">", 1)
    head = head.replace("<svg ", opening, 1)
    return f'{head}>\n <title id="{name}-title">{html.escape(title)}</title>{rest}'


def _two_decimals(number: re.Match[str]) -> str:
    """A coordinate in points: hundredths are finer than any screen."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def decimal(value: float, _position: int | None = None) -> str:
    """An axis number without powers of ten: 0.001, 0.01, 0.1, 1."""
    return f"{value:.10f}".rstrip("0").rstrip(".") if 1e-6 <= abs(value) < 1e6 else f"{value:g}"


def legend(figure: "Figure", handles: Sequence[Any], labels: Sequence[str], columns: int) -> None:
    """A legend below everything else."""
    figure.legend(handles, labels, loc="outside lower left", ncols=columns, fontsize=8.0)


def quiet(axes: "Axes") -> None:
    """A light grid behind the data."""
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
