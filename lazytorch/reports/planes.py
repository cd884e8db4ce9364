"""Paths in the plane, drawn: from a hollow dot to a full one, coloured by sign, over rays and the unit circle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import Circle

from ..quantities import BLUE, GREY, VERMILION
from .primitives import Plane
from .sections import Section
from .style import mathematics, plain, symbol
from .values import key_of, number, spell

Point = tuple[float, float]


@dataclass(frozen=True)
class Paths:
    """One panel's: (sign, points) of every path, and (sign, point) of every ray."""

    plane: Plane
    paths: list[tuple[float, list[Point]]]
    rays: list[tuple[float, Point]]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.paths


def paths(section: Section, plane: Plane) -> dict[str, Paths]:
    """The panels of the first run that has any, by title; points that are not finite are left out."""
    run = next((run for run in section.runs if run.tables.get(plane.table)), None)
    if run is None:
        return {}
    rays = [(float(row["sign"]), (row[plane.x], row[plane.y])) for row in run.tables.get(plane.rays, [])]
    grouped: dict[str, dict] = {}
    for row in run.tables[plane.table]:
        title = f"{plane.each} = {spell(row[plane.each])}"
        path = grouped.setdefault(title, {}).setdefault(key_of(row[plane.by]), (number(row[plane.sign]), []))
        place = number(row[plane.x]), number(row[plane.y])
        if all(value is not None and math.isfinite(value) for value in place):
            path[1].append(place)
    return {title: Paths(plane, list(own.values()), rays) for title, own in grouped.items()}


def draw_paths(axes: Axes, section: Section, drawn: Paths) -> None:
    """Draw ``drawn`` on ``axes``."""
    furthest = max(1.0, *(abs(place) for _, points in drawn.paths for point in points for place in point))
    axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=GREY, linewidth=0.8, gid="circle"))
    for sign, (x, y) in drawn.rays:
        long = 2 * furthest / max(abs(x), abs(y))
        axes.plot([0, long * x], [0, long * y], linestyle=(0, (4, 2)), linewidth=0.9, color=color(sign), gid="ray")
    for sign, points in drawn.paths:
        _draw_path(axes, points, color(sign))
    axes.set_xlim(-1.12 * furthest, 1.12 * furthest)
    axes.set_ylim(-1.12 * furthest, 1.12 * furthest)
    axes.set_aspect("equal")
    axes.set_xlabel(mathematics(section.quantity(drawn.plane.x).title))
    axes.set_ylabel(mathematics(section.quantity(drawn.plane.y).title))


def _draw_path(axes: Axes, points: Sequence[Point], colour: str) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, color=colour, linewidth=1.3, gid="path")
    axes.plot(
        x[:1], y[:1], linestyle="none", marker="o", markersize=3, markerfacecolor="white", color=colour, gid="start"
    )
    axes.plot(x[-1:], y[-1:], linestyle="none", marker="o", markersize=4, color=colour, gid="end")


def color(sign: float | None) -> str:
    """Of a sign."""
    return VERMILION if sign is not None and sign > 0 else BLUE


def handles(rays: str) -> list:
    """The entries of a legend; ``rays``: what they are."""
    return [
        symbol("positive sign", color=VERMILION),
        symbol("negative sign", color=BLUE),
        symbol("start", color="black", marker="o", markersize=3, markerfacecolor="white", linestyle="none"),
        symbol("end", color="black", marker="o", markersize=4, linestyle="none"),
        symbol(plain(rays), color="black", linestyle=(0, (4, 2)), linewidth=0.9),
        symbol("unit circle", color=GREY, linewidth=0.8),
    ]
