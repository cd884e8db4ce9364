"""How the figures look: one colour and one marker a quantity, or one colour a series where there are several."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.colors import is_color_like, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.mathtext import MathTextParser
from PIL import Image

from ..quantities import BLUE, GREEN, ORANGE, PURPLE, QUANTITIES, SKY, VERMILION, Quantity
from ..runs import write_atomically

Value = TypeVar("Value")

COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "black")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINESTYLES = ("-", "--", ":", "-.")
GUIDES = ((0, (5, 3)), (0, (2, 2)), (0, (8, 2, 2, 2)))
BOUND: dict[str, Any] = dict(linestyle=(0, (4, 2)), linewidth=1, marker="")
PNG_LIMIT = 200_000
CROSS: dict[str, Any] = dict(marker="x", markersize=7, markeredgewidth=1.8, linestyle="none")

RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
    "pdf.fonttype": 42,
    "hatch.linewidth": 0.6,
}


@dataclass(frozen=True)
class Style:
    """How a quantity is drawn."""

    color: str
    marker: str
    linestyle: str


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's settings for the figures, whatever the user's own are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def styles(quantities: Sequence[Quantity], pairs: Iterable[tuple[str, str]] = ()) -> dict[str, Style]:
    """A style for each quantity, its own as far as no other looks alike; ``pairs`` of names have one colour."""
    chosen: dict[str, Style] = {}
    partner = {name: other for pair in pairs for name, other in (pair, pair[::-1])}
    declared = {one.name: one for one in quantities if one.name in QUANTITIES or one != Quantity(one.name)}
    for quantity in quantities:
        name = quantity.name
        own = declared.get(name)
        for_color = own or declared.get(partner.get(name, ""))
        used = list(chosen.values())
        color = _first_free(for_color and for_color.color, is_color_like, COLORS, [one.color for one in used])
        if partner.get(name) in chosen:
            color = chosen[partner[name]].color
        marker = _first_free(own and own.marker, MARKERS.__contains__, MARKERS, [one.marker for one in used])
        line = _first_free(
            own and own.linestyle, LINESTYLES.__contains__, LINESTYLES, [one.linestyle for one in used if own is None]
        )
        chosen[name] = Style(color, marker, line)
    return chosen


def ranks(values: Sequence[Value]) -> dict[Value, str]:
    """A colour for each of ``values`` along viridis by their rank; its yellow end is too pale for a line on white."""
    return {
        value: to_hex(matplotlib.colormaps["viridis"](0.9 * rank / max(1, len(values) - 1)))
        for rank, value in enumerate(values)
    }


def series_colors(labels: Sequence[str]) -> dict[str, str]:
    """A colour for every series."""
    if len(labels) <= len(COLORS):
        return dict(zip(labels, COLORS, strict=False))
    return ranks(labels)


def symbol(label: str, **style) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **style)


def plain(text: str) -> str:
    """``text`` that matplotlib shows as it is, in one line."""
    return _one_line(text).replace("$", r"\$")


def mathematics(label: str) -> str:
    """A label with mathematics between dollars; as plain text if matplotlib cannot set it."""
    label = _one_line(label)
    try:
        MathTextParser("path").parse(label)
    except (ValueError, RuntimeError):
        return plain(label)
    return label


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``figure`` to stem.png, small and in 256 colours, and to stem.pdf; the same figure gives the same bytes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        vector = BytesIO()
        figure.savefig(vector, format="pdf", metadata={"CreationDate": None})
        images = (_png(figure, dpi) for dpi in (150, 110, 80))
        image = next((one for one in images if len(one) < PNG_LIMIT), b"") or _png(figure, 60)
    written = []
    for ending, data in ((".png", image), (".pdf", vector.getvalue())):
        written.append(stem.with_name(stem.name + ending))
        write_atomically(written[-1], lambda file, data=data: file.write(data))
    return written


def _png(figure: Figure, dpi: int) -> bytes:
    raster, small = BytesIO(), BytesIO()
    figure.savefig(raster, dpi=dpi, format="png")
    with Image.open(raster) as image:
        # Maximal coverage keeps the colours that few pixels have: the legend's. The default merges them.
        reduced = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    reduced.save(small, format="png", optimize=True, dpi=(dpi, dpi))
    return small.getvalue()


def _first_free(own: str | None, is_known, choices: Sequence[str], taken: Sequence[str]) -> str:
    """``own`` if it is known and not taken, else the first of ``choices`` that is not, else ``own`` or the first."""
    known = own if own is not None and is_known(own) else None
    return next((one for one in (known, *choices) if one is not None and one not in taken), known or choices[0])
