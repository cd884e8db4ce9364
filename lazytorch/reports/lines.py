"""A quantity against alpha, one line a series: mean and spread over seeds, dotted where the line goes to infinity."""

import math
from collections.abc import Callable, Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lazytorch.reports.alpha_axis import AlphaAxis
from lazytorch.reports.style import GREY, LABELS, LINESTYLES, MARKERS, color, shorten, symbol
from lazytorch.reports.sweep import Series, Sweep

Spread = Callable[[np.ndarray], tuple[float, float]]
CROSS = dict(marker="x", markersize=7, markeredgewidth=1.8, linestyle="none")


def deviation(values: np.ndarray) -> tuple[float, float]:
    """The sample standard deviation, below and above the mean; 0 for a single value."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return deviation, deviation


def extent(values: np.ndarray) -> tuple[float, float]:
    """How far the least and the greatest value lie from the mean."""
    mean = np.mean(values)
    return max(0.0, mean - np.min(values)), max(0.0, np.max(values) - mean)


def draw_means(
    axes: Axes, axis: AlphaAxis, sweep: Sweep, key: str, spread: Spread, floor: float = -math.inf, scale: float = 1
) -> None:
    """Draw scale * `key` of the finished runs; means not above `floor` are hollow marks on the x axis, off the line."""
    for index, series in enumerate(sweep.series):
        style = dict(color=color(key, index, len(sweep.series)), marker=MARKERS[key])
        measured = [(cell.alpha, scale * cell.results(key)) for cell in series.cells if len(cell.results(key))]
        above = [(alpha, values) for alpha, values in measured if np.mean(values) > floor]
        _draw_line(axes, axis, above, spread, linestyle=LINESTYLES[key], **style)
        lost = [alpha for alpha, values in measured if np.mean(values) <= floor]
        _mark_axis(axes, axis, lost, markerfacecolor="white", linestyle="none", gid="data", **style)


def draw_diverged(axes: Axes, axis: AlphaAxis, sweep: Sweep) -> None:
    """A cross on the x axis wherever a run diverged."""
    for index, series in enumerate(sweep.series):
        at = [cell.alpha for cell in series.cells if cell.diverged]
        _mark_axis(axes, axis, at, color=_series_color(index, sweep), **CROSS)


def legend(sweep: Sweep, panels: Iterable[tuple[str, ...]]) -> list[Line2D]:
    """The entries for the series, if there are several, the quantities that were measured, and crosses, if any."""
    single = len(sweep.series) == 1
    keys = [key for keys in panels for key in keys if any(len(cell.results(key)) for cell in sweep.cells)]
    quantities = [
        symbol(
            LABELS[key], color=color(key, 0, 1) if single else "black", marker=MARKERS[key], linestyle=LINESTYLES[key]
        )
        for key in keys
    ]
    series = [] if single else [_series_symbol(index, one, sweep) for index, one in enumerate(sweep.series)]
    diverged = any(cell.diverged for cell in sweep.cells)
    return series + quantities + ([symbol("diverged", color="black", **CROSS)] if diverged else [])


def seeds(sweep: Sweep) -> str:
    """The number of finished runs behind a point, such as "n = 3" or "n = 1–3"."""
    counts = {len(cell.finished) for cell in sweep.cells if cell.finished} or {0}
    return f"n = {min(counts)}" + (f"–{max(counts)}" if len(counts) > 1 else "")


def say_if_empty(axes: Axes) -> None:
    """Say so in `axes` if nothing was drawn there."""
    if not any(len(line.get_xdata()) for line in axes.lines if line.get_gid() == "data"):
        axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", va="center", color=GREY)
        axes.tick_params(axis="y", which="both", left=False, labelleft=False)


def _series_color(index: int, sweep: Sweep) -> str:
    return "black" if len(sweep.series) == 1 else color("", index, len(sweep.series))


def _series_symbol(index: int, series: Series, sweep: Sweep) -> Line2D:
    return symbol(shorten(series.label), color=_series_color(index, sweep))


def _draw_line(axes: Axes, axis: AlphaAxis, points: list, spread: Spread, color: str, marker: str, linestyle) -> None:
    x = np.array([axis.position(alpha) for alpha, _ in points])
    y = np.array([np.mean(values) for _, values in points])
    error = np.array([spread(values) for _, values in points]).reshape(-1, 2).T
    finite = [math.isfinite(alpha) for alpha, _ in points]
    axes.errorbar(x, y, error, linestyle="none", capsize=2, elinewidth=1, color=color)
    axes.plot(x, y, linestyle="none", marker=marker, color=color, gid="data")
    axes.plot(x[finite], y[finite], linestyle=linestyle, color=color)
    if any(finite) and not all(finite):
        axes.plot(x[-2:], y[-2:], linestyle=":", linewidth=1, color=color)


def _mark_axis(axes: Axes, axis: AlphaAxis, alphas: list[float], **style) -> None:
    """Marks on the x axis, drawn over it."""
    if alphas:
        at = [axis.position(alpha) for alpha in alphas]
        axes.plot(at, [0] * len(at), transform=axes.get_xaxis_transform(), clip_on=False, zorder=11, **style)
