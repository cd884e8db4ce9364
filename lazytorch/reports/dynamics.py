"""The figure of linear dynamics: training over its closed form, and what finite alpha adds."""

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..quantities import BLUE, GREY, VERMILION
from .style import house_style, symbol

COLORS = {"train": BLUE, "test": VERMILION}
MARKERS = {"train": "o", "test": "s"}
GUIDE = dict(color=GREY, linestyle=(0, (5, 3)), linewidth=1)


def dynamics_figure(directory: Path) -> Figure:
    """Left the losses at alpha = inf, trained and predicted; right the departure of finite alpha from the prediction.

    From curves.csv and departure.csv in ``directory``.
    """
    curves, departure = (_read(directory / name) for name in ("curves.csv", "departure.csv"))
    with house_style():
        figure, (left, right) = two_panels()
        for part, color in COLORS.items():
            _draw_losses(left, curves, part, color)
            kept = np.isfinite(departure[part])
            right.plot(departure["alpha"][kept], departure[part][kept], MARKERS[part], color=color)
        left.set(yscale="log", xlabel="step", ylabel=r"loss at $\alpha = \infty$")
        right.set(xscale="log", yscale="log", xlabel=r"scale $\alpha$")
        right.set_ylabel(r"largest $|F - \hat F|\,/\,|\hat F|$ of all steps")
        _draw_guide(right, departure)
        handles = [symbol(part, color=color, marker=MARKERS[part], linestyle="none") for part, color in COLORS.items()]
        handles += [symbol("closed form", color="black"), symbol(r"$1/\alpha$", **GUIDE)]
        error = f"{curves['error'].max():.1e}"
        caption = rf"marks: trained; at $\alpha = \infty$ the training outputs err by {error} at most"
        legend_below(figure, handles, caption, columns=4)
    return figure


def two_panels() -> tuple[Figure, tuple[Axes, Axes]]:
    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)
    return figure, tuple(figure.subplots(1, 2))


def legend_below(figure: Figure, handles: list, caption: str, columns: int) -> None:
    rows = math.ceil(len(handles) / columns)
    figure.set_figheight(figure.get_figheight() + 0.25 + 0.18 * rows)
    figure.legend(handles=handles, title=caption, ncols=columns, loc="outside lower center", title_fontsize=8)


def _read(path: Path) -> np.ndarray:
    return np.atleast_1d(np.genfromtxt(path, delimiter=",", names=True))


def _draw_losses(axes: Axes, curves: np.ndarray, part: str, color: str) -> None:
    every = max(1, len(curves) // 20)
    axes.plot(curves["step"], curves[f"{part}_loss_predicted"], color=color)
    marked = curves[::every]
    axes.plot(marked["step"], marked[f"{part}_loss"], MARKERS[part], color=color, markerfacecolor="white")


def _draw_guide(axes: Axes, departure: np.ndarray) -> None:
    """The line proportional to 1 / alpha through the training point at the largest alpha."""
    kept = departure[np.isfinite(departure["train"])]
    if len(kept):
        last = kept[np.argmax(kept["alpha"])]
        alphas = np.array([kept["alpha"].min(), last["alpha"]])
        axes.plot(alphas, last["train"] * last["alpha"] / alphas, zorder=1, **GUIDE)
