"""The figure of training: accuracies and training loss against the epoch, one colour an alpha."""

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lazytorch.reports.style import house_style, shorten, symbol
from lazytorch.reports.sweep import Series, Sweep
from lazytorch.reports.tables import spell_alpha

MAX_ROWS = 4
PANELS = (
    ("train_accuracy", "train accuracy (%)", 100),
    ("test_accuracy", "test accuracy (%)", 100),
    ("train_loss", "training loss", 1),
)


def curves_figure(sweep: Sweep) -> Figure:
    """One row of panels a series (the first MAX_ROWS of them), one line a run; runs that did not finish are dashed."""
    shown = sweep.series[:MAX_ROWS]
    colors = _colors(sweep.alphas)
    with house_style():
        figure = Figure(figsize=(8.4, 0.5 + 2.3 * len(shown)), layout="constrained")
        rows = figure.subplots(len(shown), len(PANELS), squeeze=False)
        for row, series in zip(rows, shown, strict=True):
            _draw_row(row, series, colors)
        for axes in rows[-1]:
            axes.set_xlabel("epoch")
        handles = [symbol(spell_alpha(alpha), color=colors[alpha]) for alpha in sweep.alphas]
        figure.legend(handles=handles, loc="outside right upper", title=r"scale $\alpha$")
    return figure


def _colors(alphas: list[float]) -> dict[float, tuple]:
    """Along viridis with the logarithm of alpha, infinity last; its yellow end is too pale for a line on white."""
    finite = [math.log10(alpha) for alpha in alphas if math.isfinite(alpha)]
    first, last = (min(finite), max(finite)) if finite else (0, 0)
    end = last + (last - first) / 8 + 0.1
    places = {alpha: math.log10(alpha) if math.isfinite(alpha) else end for alpha in alphas}
    return {
        alpha: matplotlib.colormaps["viridis"](0.9 * (place - first) / (end - first)) for alpha, place in places.items()
    }


def _draw_row(row: list[Axes], series: Series, colors: dict[float, tuple]) -> None:
    for axes, (key, title, scale) in zip(row, PANELS, strict=True):
        for member in series.members:
            epochs, values = member.curve(key).T
            style = dict(linestyle="-" if member.status == "finished" else "--", color=colors[member.alpha])
            axes.plot(epochs, scale * values, linewidth=1, marker="." if len(epochs) < 3 else None, **style)
        axes.set_ylabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    row[0].set_title(shorten(series.label), loc="left")
    _scale_loss(row[-1], series)


def _scale_loss(axes: Axes, series: Series) -> None:
    """Logarithmic, and as high as the runs that did not diverge; those that did leave through the top."""
    axes.set_yscale("log")
    tame = [member.curve("train_loss")[:, 1] for member in series.members if member.status != "diverged"]
    losses = np.concatenate([np.empty(0), *tame])
    losses = losses[losses > 0]
    if len(losses):
        axes.set_ylim(losses.min() / 1.5, losses.max() * 1.5)
