"""The figure of drift: how far the weights and the tangent kernel moved, against alpha."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lazytorch.reports.alpha_axis import AlphaAxis
from lazytorch.reports.lines import draw_diverged, draw_means, extent, legend, say_if_empty, seeds
from lazytorch.reports.style import GREY, house_style, legend_below, symbol, two_panels
from lazytorch.reports.sweep import Sweep

PANELS = (("displacement",), ("ntk_drift", "kernel_distance"))
TITLES = ("displacement of the weights", "change of the tangent kernel")
GUIDE = dict(color=GREY, linestyle=(0, (5, 3)), linewidth=1)
HOLLOW = dict(color="black", marker="o", linestyle="none", markerfacecolor="white")

# The kernels are computed in float64: two of the same weights differ by about this much, relatively; their distance is
# half its square. The displacement is computed from theta and loses nothing: only an exact zero is on its floor.
FLOORS = {"displacement": 0.0, "ntk_drift": 1e-14, "kernel_distance": 1e-28}


def drift_figure(sweep: Sweep) -> Figure:
    """Left the displacement, right the kernel's drift and distance; both axes logarithmic, zeros on the floor."""
    with house_style():
        figure, panels = two_panels()
        for axes, keys, title in zip(panels, PANELS, TITLES, strict=True):
            _draw_panel(axes, sweep, keys, title)
        handles = [
            symbol(r"$1/\alpha$", **GUIDE),
            symbol("hollow: zero, or below the kernel's rounding", **HOLLOW),
        ]
        caption = f"mean over seeds, bars from least to greatest, {seeds(sweep)}"
        legend_below(figure, legend(sweep, PANELS) + handles, caption, columns=3 if len(sweep.series) == 1 else 2)
    return figure


def _draw_panel(axes: Axes, sweep: Sweep, keys: tuple[str, ...], title: str) -> None:
    axis = AlphaAxis(sweep.alphas)
    axes.set_yscale("log")
    for key in keys:
        draw_means(axes, axis, sweep, key, extent, floor=FLOORS[key])
    draw_diverged(axes, axis, sweep)
    axes.set_ylim(*_limits(sweep, keys))
    _draw_guide(axes, sweep, keys[0])
    axes.set_ylabel(title)
    axis.dress(axes)
    say_if_empty(axes)


def _limits(sweep: Sweep, keys: tuple[str, ...]) -> tuple[float, float]:
    """From under the least value above its floor to over the greatest."""
    values = [value for key in keys for cell in sweep.cells for value in cell.results(key) if value > FLOORS[key]]
    return (min(values) / 5, max(values) * 5) if values else (1e-3, 1.0)


def _draw_guide(axes: Axes, sweep: Sweep, key: str) -> None:
    """The line proportional to 1 / alpha, three times above the value at the largest finite alpha."""
    cells = [cell for cell in sweep.cells if math.isfinite(cell.alpha) and len(cell.results(key))]
    points = [(cell.alpha, cell.results(key).mean()) for cell in cells if cell.results(key).mean() > FLOORS[key]]
    if points:
        last, value = max(points)
        alphas = np.array([min(points)[0], last])
        axes.plot(alphas, 3 * value * last / alphas, zorder=1, **GUIDE)
