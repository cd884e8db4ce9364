"""A panel, drawn: lines with their spread, marks on the axis for what a logarithm cannot show, guides and bounds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..quantities import GREY, Quantity
from .axis import Axis
from .labels import shorten, words
from .sections import Section
from .style import BOUND, CROSS, GUIDES, Style, mathematics, plain
from .traces import BOUND as BOUND_ROLE
from .traces import MARK, Trace, Traces
from .values import key_of, number, spell

FEW = 12  # points of a line, up to which each is marked and has its own bar
MARKED = 20  # points of a line of marks that are drawn
SETTINGS_DECADES = 2  # over which an undeclared setting has a logarithmic axis


@dataclass
class Look:
    """What the panels of a figure have in common, and what was met in drawing them.

    ``series`` are the colours of several series, {} for one; ``ranks`` those of the values of the panels' ``by``.
    """

    section: Section
    styles: dict[str, Style]
    series: dict[str, str]
    ranks: dict[str, dict]
    counts: set[int] = field(default_factory=set)
    spreads: set[str] = field(default_factory=set)
    met: set[str] = field(default_factory=set)
    guides: dict[str, int] = field(default_factory=dict)

    def color(self, traces: Traces, line: Trace) -> str:
        if traces.by:
            return self.ranks[traces.by][key_of(line.by)]
        return self.series.get(line.series) or self.styles[line.column].color


def draw_panel(axes: Axes, traces: Traces, look: Look) -> None:
    """Draw ``traces`` on ``axes``."""
    section, panel = look.section, traces.panel
    x = section.quantity(traces.x)
    axis = Axis(traces.places, panel.xscale == "log" or (panel.xscale is None and _is_log_x(section, traces, x)))
    log = panel.yscale == "log" or (panel.yscale is None and _is_log_y(section, traces))
    if log:
        axes.set_yscale("log")
    scale_x = 100 if x.percent and not axis.log else 1
    for line in traces.lines:
        _draw_line(axes, axis, traces, line, look, log, scale_x)
    for label, place in traces.diverged:
        _mark_axis(axes, axis, [place], color=look.series.get(label, "black"), gid="diverged", **CROSS)
        look.met.add("diverged")
    _set_limits(axes, section, traces, log)
    _draw_guides(axes, axis, traces, look)
    axes.set_xlabel(mathematics(x.title if scale_x == 100 else x.short))
    axes.set_ylabel(plain(panel.ylabel) if panel.ylabel else _y_label(section, traces))
    axis.dress(axes)
    if panel.title:
        axes.set_title(plain(panel.title), loc="left")


def say(axes: Axes, text: str) -> None:
    """Words in place of what was not measured."""
    wrapped = "\n".join(plain(text)[at : at + 40] for at in range(0, len(plain(text)), 40))
    axes.text(0.5, 0.5, wrapped, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=8)
    axes.set_axis_off()


def _draw_line(axes: Axes, axis: Axis, traces: Traces, line: Trace, look: Look, log: bool, scale_x: float) -> None:
    quantity = look.section.quantity(line.column)
    scale = 100 if quantity.percent else 1
    style, color = look.styles[line.column], look.color(traces, line)
    whole = line.status == "finished"
    floor = quantity.floor if log else -math.inf
    means = line.means
    shown = [index for index, mean in enumerate(means) if floor < mean < math.inf]
    x = np.array([axis.place(line.xs[index]) for index in shown]) * scale_x
    y = np.array([scale * means[index] for index in shown])
    name = f"{line.column}|{line.series}|{'' if line.by is None else spell(line.by)}"
    lost = [place for place, mean in zip(line.xs, means, strict=True) if mean <= floor]
    beyond = [place for place, mean in zip(line.xs, means, strict=True) if mean == math.inf]
    if line.role == BOUND_ROLE:
        axes.plot(x, y, color=color, label=name, gid="bound", **BOUND)
        return
    if whole and not traces.panel.trajectory:
        values = [[scale * value for value in line.values[index]] for index in shown]
        look.counts |= {len(one) for one in line.values}
        _draw_spread(axes, x, values, color, log, look, len(x) > FEW or bool(traces.by))
    few = len(shown) <= FEW and not traces.panel.trajectory
    marker = style.marker if few or line.role == MARK else ""
    if traces.by and marker and line.role != MARK:
        marker = "."
    every = max(1, math.ceil(len(shown) / MARKED)) if line.role == MARK else 1
    axes.plot(x[::every], y[::every], linestyle="none", marker=marker, color=color, gid="data", label=name)
    if line.role != MARK:
        _join(axes, axis, line, shown, x, y, color, _linestyle(traces, line, style, whole))
    _mark_lost(axes, axis, lost, name, style.marker, color, look)
    if beyond:
        _mark_axis(axes, axis, beyond, 1, marker="^", color=color, linestyle="none", gid="beyond")
        look.met.add("beyond")
    if not whole:
        look.met.add("unfinished")


def _linestyle(traces: Traces, line: Trace, style: Style, whole: bool) -> object:
    """Dotted if unfinished; dashed where the value of ``by`` is infinite; else the quantity's own."""
    if not whole and not traces.panel.trajectory:
        return ":"
    several = len(traces.panel.y) > 1
    if traces.by and not several:
        return "--" if number(line.by) == math.inf else "-"
    return style.linestyle if several or not traces.panel.bounds else "-"


def _join(axes: Axes, axis: Axis, line: Trace, shown: Sequence[int], x, y, color: str, linestyle) -> None:
    """A line through the finite places, dotted on to infinity and from zero beyond a break; words are not joined."""
    if axis.words:
        return
    ends = [not _is_inside(axis, line.xs[index]) for index in shown]
    inner = np.flatnonzero(~np.array(ends, dtype=bool))
    width = 1.2 if len(shown) > FEW else 1.4
    axes.plot(x[inner], y[inner], linestyle=linestyle, color=color, gid="line", linewidth=width)
    for index in np.flatnonzero(np.array(ends, dtype=bool)):
        if len(inner):
            pair = [inner[0] if index < inner[0] else inner[-1], index]
            axes.plot(x[pair], y[pair], linestyle=":", linewidth=1, color=color, gid="line")


def _is_inside(axis: Axis, place: object) -> bool:
    found = number(place)
    return found is not None and math.isfinite(found) and not (axis.log and found == 0)


def _draw_spread(axes: Axes, x: np.ndarray, values: list, color: str, log: bool, look: Look, band: bool) -> None:
    """Bars, or a band: the sample standard deviation; on logarithmic axes from the least to the greatest."""
    if not values or max(map(len, values)) < 2:
        return
    look.spreads.add("extent" if log else "deviation")
    errors = np.array([extent(one) if log else deviation(one) for one in values]).T
    means = np.array([np.mean(one) for one in values])
    if not band:
        axes.errorbar(x, means, errors, linestyle="none", capsize=2, elinewidth=1, color=color)
        return
    low = means - errors[0]
    low = np.where(low > 0, low, means) if log else low
    axes.fill_between(x, low, means + errors[1], color=color, alpha=0.2, linewidth=0)


def deviation(values: Sequence[float]) -> tuple[float, float]:
    """The sample standard deviation, below and above the mean; 0 for a single value."""
    found = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return found, found


def extent(values: Sequence[float]) -> tuple[float, float]:
    """How far the least and the greatest value lie from the mean."""
    mean = float(np.mean(values))
    return max(0.0, mean - min(values)), max(0.0, max(values) - mean)


def _mark_lost(axes: Axes, axis: Axis, lost: list, name: str, marker: str, color: str, look: Look) -> None:
    """Hollow marks on the x axis for what is zero, or at its floor."""
    if lost:
        every = max(1, math.ceil(len(lost) / MARKED))
        hollow: dict[str, Any] = dict(marker=marker or "o", markerfacecolor="white", color=color, linestyle="none")
        _mark_axis(axes, axis, lost[::every], gid="floor", label=name, **hollow)
        look.met.add("floor")


def _mark_axis(axes: Axes, axis: Axis, places: Iterable, height: float = 0, **style) -> None:
    """Marks on the x axis, drawn over it; at ``height`` 1 on the upper edge."""
    at = [axis.place(place) for place in places]
    axes.plot(at, [height] * len(at), transform=axes.get_xaxis_transform(), clip_on=False, zorder=11, **style)


def _is_log_x(section: Section, traces: Traces, x: Quantity) -> bool:
    finite = [value for place in traces.places if (value := number(place)) and math.isfinite(value)]
    if x.log or (traces.panel.guides and traces.x == traces.panel.x):
        return True
    is_setting = any(traces.x in run.fields or section.resolve(traces.x) for run in section.runs)
    wide = len(finite) > 2 and min(finite) > 0 and max(finite) >= 10**SETTINGS_DECADES * min(finite)
    return is_setting and wide and traces.panel.table == "summary"


def _is_log_y(section: Section, traces: Traces) -> bool:
    shown = [*traces.panel.y, *traces.panel.marks]
    return bool(traces.panel.guides) or any(section.quantity(column).log for column in shown)


def _set_limits(axes: Axes, section: Section, traces: Traces, log: bool) -> None:
    """As far as the runs that did not diverge; those that did leave through the top, and far bounds too."""
    tame = [line for line in traces.lines if line.status != "diverged"] or traces.lines
    measured = [value for line in tame if line.role != BOUND_ROLE for value in _scaled(section, line, log)]
    bounds = [value for line in tame if line.role == BOUND_ROLE for value in _scaled(section, line, log)]
    if not measured and not bounds:
        axes.set_ylim(*((1e-3, 1.0) if log else (0.0, 1.0)))
        return
    low, high = min(measured or bounds), max(measured or bounds)
    if log:
        near = [min(max(value, low / 1e3), high * 1e3) for value in bounds]
        low, high = min([low, *near]), max([high, *near])
        margin = 10 ** (0.15 + 0.06 * math.log10(high / low))
        axes.set_ylim(low / margin, high * margin)
        return
    near = [min(max(value, low - 2 * abs(low)), high + 2 * abs(high)) for value in bounds]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    bottom, top = low - margin, high + margin
    if all(section.quantity(column).percent for column in traces.panel.y):
        bottom, top = max(bottom, min(low, -2.0)), min(top, max(high, 102.0))
    axes.set_ylim(bottom, top)


def _scaled(section: Section, line: Trace, log: bool) -> list[float]:
    quantity = section.quantity(line.column)
    scale, floor = 100 if quantity.percent else 1, quantity.floor if log else -math.inf
    every = line.means if log else [value for values in line.values for value in values]
    return [scale * value for value in every if floor < value < math.inf]


def _draw_guides(axes: Axes, axis: Axis, traces: Traces, look: Look) -> None:
    """Lines of the panel's slopes, each over the line whose own slope is nearest."""
    curves = [_finite_points(look.section, axis, line) for line in traces.lines if line.role != BOUND_ROLE]
    curves = [curve for curve in curves if len(curve)]
    is_asked = curves and traces.x == traces.panel.x  # on another axis the slopes would mean nothing
    for slope in traces.panel.guides if is_asked else ():
        curve = min(curves, key=lambda curve: abs(_slope(curve) - slope))
        first, (last, value) = curve[0][0], curve[-1]
        first = min([first, *(other[0][0] for other in curves)])
        label = _guide_label(look.section.quantity(traces.x), slope)
        style = GUIDES[look.guides.setdefault(label, len(look.guides)) % len(GUIDES)]
        x = np.geomspace(first, last, 2 if axes.get_yscale() == "log" else 50)
        axes.plot(x, 3 * value * (x / last) ** slope, color=GREY, linewidth=1, linestyle=style, zorder=1, gid="guide")


def _finite_points(section: Section, axis: Axis, line: Trace) -> list[tuple[float, float]]:
    quantity = section.quantity(line.column)
    scale = 100 if quantity.percent else 1
    pairs = zip(line.xs, line.means, strict=True)
    inside = [(number(x), scale * y) for x, y in pairs if _is_inside(axis, x) and quantity.floor < y < math.inf]
    return [(x, y) for x, y in inside if x is not None and x > 0 and y > 0]


def _slope(curve: list[tuple[float, float]]) -> float:
    """d log y / d log x from the first to the last point."""
    (a, b), (c, d) = curve[0], curve[-1]
    return math.log(d / b) / math.log(c / a) if c != a else 0.0


def _guide_label(x: Quantity, slope: float) -> str:
    inside = x.short.split("$")
    if len(inside) != 3:
        return f"slope {slope:g}".replace("-", "−")
    return f"$1/{inside[1]}$" if slope == -1 else f"${inside[1]}^{{{slope:g}}}$"


def _y_label(section: Section, traces: Traces) -> str:
    """The quantity; of several what their names have in common, or all names."""
    columns = dict.fromkeys(line.column for line in traces.lines if line.role != BOUND_ROLE)
    shown = [section.quantity(column) for column in columns]
    if len(shown) == 1:
        return mathematics(shown[0].title)
    unit = " (%)" if shown and all(one.percent for one in shown) else ""
    texts = [words(one.short) or one.name.replace("_", " ") for one in shown]
    return plain(common(texts) or shorten(", ".join(texts))) + unit


def common(texts: Sequence[str]) -> str:
    """The words that all ``texts`` have."""
    split = [text.split() for text in texts]
    return " ".join(word for word in (split[0] if split else []) if all(word in other for other in split))
