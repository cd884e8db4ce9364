"""How the figures look: one colour and one marker a quantity, or one colour a series where there are several."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

# Okabe and Ito's colours, which the colour-blind tell apart too.
BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#777777"

LABELS = {
    "train_accuracy": "train accuracy",
    "test_accuracy": "test accuracy",
    "activation_stability": "stability of activations",
    "displacement": r"displacement $|w - w_0|\,/\,|w_0|$",
    "ntk_drift": r"kernel drift $|K - K_0|\,/\,|K_0|$",
    "kernel_distance": r"kernel distance $1 - \cos(K, K_0)$",
}
COLORS = {
    "train_accuracy": BLUE,
    "test_accuracy": VERMILION,
    "activation_stability": GREEN,
    "displacement": PURPLE,
    "ntk_drift": SKY,
    "kernel_distance": ORANGE,
}
MARKERS = {
    "train_accuracy": "o",
    "test_accuracy": "s",
    "activation_stability": "^",
    "displacement": "o",
    "ntk_drift": "s",
    "kernel_distance": "D",
}
LINESTYLES = {
    "train_accuracy": "--",
    "test_accuracy": "-",
    "activation_stability": "-",
    "displacement": "-",
    "ntk_drift": "-",
    "kernel_distance": "--",
}
SERIES_COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, "black")

RC = {
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
}


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's settings for the figures, whatever the user's own are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def color(key: str, index: int, n_series: int) -> str:
    """The quantity's own colour in a figure of one series, the series' colour in a figure of several."""
    if n_series == 1:
        return COLORS[key]
    if n_series <= len(SERIES_COLORS):
        return SERIES_COLORS[index]
    return to_hex(matplotlib.colormaps["viridis"](index / n_series))


def symbol(label: str, **style) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **style)


def shorten(label: str, width: int = 44) -> str:
    """`label` with its middle left out if it is longer than `width`."""
    half = (width - 1) // 2
    return label if len(label) <= width else f"{label[:half]}…{label[-half:]}"


def two_panels() -> tuple[Figure, tuple[Axes, Axes]]:
    """A figure of the width of a page with two panels side by side."""
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    return figure, tuple(figure.subplots(1, 2))


def legend_below(figure: Figure, handles: list[Line2D], caption: str, columns: int) -> None:
    """A legend under the panels, for which the figure grows."""
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + 0.25 + 0.18 * rows)
    figure.legend(handles=handles, title=caption, ncols=columns, loc="outside lower center", title_fontsize=8)


def save(figure: Figure, stem: Path) -> None:
    """Write `figure` to stem.png, in 256 colours to be small, and to stem.pdf; the same figure gives the same bytes."""
    figure.savefig(stem.with_suffix(".pdf"), metadata={"CreationDate": None})
    raster = BytesIO()
    figure.savefig(raster, dpi=150, format="png")
    with Image.open(raster) as image:
        # Maximal coverage keeps the colours that few pixels have: the legend's. The default merges them.
        small = image.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    small.save(stem.with_suffix(".png"), optimize=True, dpi=(150, 150))
