"""A heat map, drawn: a cell by colour for every pair, infinity last after a break, what diverged hatched."""

import math
from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..quantities import GREY, VERMILION, Quantity
from .sections import Section
from .style import mathematics, plain
from .traces import Grid
from .values import number, spell

GAP = 0.4  # of a cell, before infinity
SPELT = 100  # cells, up to which each has its number written in
TICKS = 12


def draw_grid(figure: Figure, axes: Axes, section: Section, grid: Grid) -> None:
    """Draw ``grid`` on ``axes``, with its colour bar."""
    quantity = section.quantity(grid.value)
    scale = 100 if quantity.percent else 1
    means = {cell: scale * sum(values) / len(values) for cell, values in grid.cells.items()}
    norm = _norm(quantity, list(means.values()))
    colors = ScalarMappable(norm, matplotlib.colormaps["viridis"])
    xs, ys = places(grid.xs), places(grid.ys)
    for (x, y), mean in means.items():
        corner = (xs[x] - 0.5, ys[y] - 0.5)
        color = colors.cmap(float(norm(mean)))
        axes.add_patch(Rectangle(corner, 1, 1, facecolor=color, edgecolor="white", linewidth=0.5))
        if len(means) <= SPELT:
            light = sum(w * c for w, c in zip((0.3, 0.6, 0.1), color, strict=False)) > 0.55
            size = min(8, max(5, 56 / max(len(xs), len(ys))))
            text = quantity.spell(mean / scale)
            axes.text(xs[x], ys[y], text, ha="center", va="center", fontsize=size, color="black" if light else "white")
    for x, y in grid.diverged:
        fill = "none" if (x, y) in means else "white"
        corner = (xs[x] - 0.5, ys[y] - 0.5)
        axes.add_patch(
            Rectangle(corner, 1, 1, facecolor=fill, edgecolor=GREY, hatch="////", linewidth=0, gid="diverged")
        )
    _draw_contour(axes, grid, xs, ys)
    _dress(axes, section, grid, xs, ys)
    figure.colorbar(colors, ax=axes, label=mathematics(quantity.title), pad=0.02)


def _draw_contour(axes: Axes, grid: Grid, xs: dict, ys: dict) -> None:
    """A line between neighbouring cells on different sides."""
    lines = []
    for index, x in enumerate(grid.xs):
        for height, y in enumerate(grid.ys):
            right, above = (grid.xs[index + 1 : index + 2], grid.ys[height + 1 : height + 2])
            if any(_apart(grid, (x, y), (other, y)) for other in right):
                lines.append([(xs[x] + 0.5, ys[y] - 0.5), (xs[x] + 0.5, ys[y] + 0.5)])
            if any(_apart(grid, (x, y), (x, other)) for other in above):
                lines.append([(xs[x] - 0.5, ys[y] + 0.5), (xs[x] + 0.5, ys[y] + 0.5)])
    axes.add_collection(LineCollection(lines, colors=VERMILION, linewidths=1.8, capstyle="projecting", gid="contour"))


def _apart(grid: Grid, one: tuple, other: tuple) -> bool:
    return one in grid.sides and other in grid.sides and (grid.sides[one] > 0) != (grid.sides[other] > 0)


def places(values: Sequence) -> dict:
    """Where each of ``values`` is: side by side, infinity after a gap."""
    return {value: index + (GAP if number(value) == math.inf else 0.0) for index, value in enumerate(values)}


def _norm(quantity: Quantity, means: list[float]) -> Normalize:
    low, high = min(means), max(means)
    if quantity.log and low > 0 and high > low:
        return LogNorm(low, high)
    return Normalize(low, high) if high > low else Normalize(low - 0.5, high + 0.5)


def _dress(axes: Axes, section: Section, grid: Grid, xs: dict, ys: dict) -> None:
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for values, set_ticks, set_limits in ((xs, axes.set_xticks, axes.set_xlim), (ys, axes.set_yticks, axes.set_ylim)):
        shown = _shown(values)
        set_ticks([values[value] for value in shown], [_tick(value) for value in shown])
        set_limits(-0.5, max(values.values()) + 0.5)
    axes.tick_params(length=0)
    axes.set_xlabel(mathematics(section.quantity(grid.x).title))
    axes.set_ylabel(mathematics(section.quantity(grid.y).title))


def _shown(values: Mapping) -> list:
    """Those that are written at the axis: of many the powers of ten if there are some, else every so many."""
    if len(values) > TICKS and len(powers := [value for value in values if _is_power(number(value))]) > 2:
        return powers if len(powers) <= TICKS else powers[:: math.ceil(len(powers) / TICKS)]
    every = math.ceil(len(values) / TICKS)
    return [value for index, value in enumerate(values) if index % every == 0 or number(value) == math.inf]


def _is_power(value: float | None) -> bool:
    """Of ten, or infinity."""
    return value is not None and value > 0 and (value == math.inf or math.log10(value) == round(math.log10(value)))


def _tick(value: object) -> str:
    found = number(value)
    if found is None:
        return plain(spell(value))
    if math.isinf(found):
        return "$\\infty$"
    exponent = math.log10(found) if found > 0 else 0.5
    return f"$10^{{{round(exponent)}}}$" if abs(exponent) >= 3 and exponent == round(exponent) else plain(spell(found))
