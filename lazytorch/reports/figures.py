"""A figure, drawn from the runs of a section: panels side by side, a row a series where ``by`` tells lines apart."""

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..quantities import GREY
from .heatmaps import draw_grid
from .labels import distinct, spell_setting
from .panels import FEW, Look, draw_panel, say
from .planes import Paths, draw_paths, paths
from .planes import handles as path_handles
from .primitives import Figure, HeatMap, Panel, Plane
from .sections import Section
from .style import BOUND, CROSS, GUIDES, house_style, mathematics, plain, ranks, series_colors, styles, symbol
from .traces import BOUND as BOUND_ROLE
from .traces import MARK, Grid, Traces, grid, reasons, trace
from .values import key_of, number, order_of

MAX_ROWS = 4
LEGEND = 10  # values of ``by`` that the legend names
BESIDE = ("outside right upper", "outside right center", "outside right lower")
HOLLOW: dict[str, Any] = dict(color="black", marker="o", linestyle="none", markerfacecolor="white")


@dataclass(frozen=True)
class _Cell:
    """What one axes shows; ``title`` names its series."""

    content: Traces | Grid | Paths
    title: str = ""


def draw(section: Section, figure: Figure) -> tuple[Canvas | None, list[str]]:
    """Draw ``figure``, None if nothing was measured for it, and say what panels were left out, and why."""
    contents, notes = _contents(section, figure)
    if not contents:
        return None, notes
    rows = _rows(section, contents)
    if len(rows) > MAX_ROWS:
        notes.append(f"The first {MAX_ROWS} of {len(rows)} series are shown.")
        rows = rows[:MAX_ROWS]
    crowded = any(cell.title for row in rows for cell in row[1:])
    titles = distinct([cell.title for row in rows for cell in row], 28 if crowded else 44)
    rows = [[replace(cell, title=titles[cell.title]) for cell in row] for row in rows]
    with house_style():
        look = _look(section, [cell.content for row in rows for cell in row if isinstance(cell.content, Traces)])
        canvas, grid_of_axes = _canvas(rows)
        for row, row_of_axes in zip(rows, grid_of_axes, strict=True):
            for cell, axes in zip(row, row_of_axes, strict=False):
                _draw_cell(canvas, axes, cell, look)
            for axes in row_of_axes[len(row) :]:
                axes.set_axis_off()
        _legends(canvas, rows, look)
    return canvas, notes


def _contents(section: Section, figure: Figure) -> tuple[list[tuple], list[str]]:
    """What is left of the panels, and why others are left out."""
    contents, notes = [], []
    for panel in figure.panels:
        if isinstance(panel, HeatMap):
            grids = {name: one for name, one in grid(section, panel).items() if not one.is_empty}
            columns, content = (panel.value,), grids
        elif isinstance(panel, Plane):
            content = grids = paths(section, panel)
            columns = (panel.table,)
        else:
            content = trace(section, panel)
            columns, grids = panel.y, {} if content.is_empty else {"": content}
        if grids:
            contents.append((panel, content))
        else:
            notes.append(_missing(section, panel, columns))
    return contents, notes


def _missing(section: Section, panel: Panel | HeatMap | Plane, columns: tuple[str, ...]) -> str:
    what = ", ".join(column.replace("_", " ") for column in columns)
    if isinstance(panel, HeatMap) and any(number(run.results.get(panel.value)) is not None for run in section.runs):
        return f"No map of {what}: {panel.x} and {panel.y} do not both vary."
    why = "; ".join(reasons(section, columns)) or "not measured in any of these runs"
    return f"No {what}: {why}."


def _rows(section: Section, contents: list[tuple]) -> list[list[_Cell]]:
    """The panels in rows: a row a series if some panel tells its lines by a column, else as they fit."""
    split = next((one for panel, one in contents if isinstance(panel, Panel) and one.by and _series(one)[1:]), None)
    if split is not None:
        lines = [(name, [_restrict(one, name) for _, one in contents]) for name in _series(split)]
        return [[_Cell(one, name if not index else "") for index, one in enumerate(row)] for name, row in lines]
    cells = []
    for panel, one in contents:
        if not isinstance(panel, Panel):
            cells += [_Cell(own, name) for name, own in one.items() if not own.is_empty]
        else:
            cells.append(_Cell(one))
    columns = {1: 1, 2: 2, 4: 2}.get(len(cells), 3)
    if any(isinstance(cell.content, Grid) for cell in cells):
        columns = min(columns, 2)
    return [cells[at : at + columns] for at in range(0, len(cells), columns)]


def _series(traces: Traces) -> list[str]:
    return list(dict.fromkeys([line.series for line in traces.lines] + [label for label, _ in traces.diverged]))


def _restrict(content: Traces | dict, name: str) -> Traces | Grid | Paths:
    """What ``content`` has of one series; all of it if it knows none of that name."""
    if isinstance(content, dict):
        return content.get(name) or next(iter(content.values()))
    if name not in _series(content):
        return content if not any(_series(content)) else replace(content, lines=[], diverged=[])
    lines = [replace(line, series="") for line in content.lines if line.series == name]
    return replace(content, lines=lines, diverged=[("", x) for label, x in content.diverged if label == name])


def _look(section: Section, contents: list[Traces]) -> Look:
    names = list(dict.fromkeys(name for one in contents if not one.by for name in _series(one)))
    values: dict[str, dict] = {}
    for one in contents:
        if one.by:
            values.setdefault(one.by, {}).update({key_of(line.by): line.by for line in one.lines})
    ranked = {by: ranks(sorted(own, key=lambda key: order_of(number(key)))) for by, own in values.items()}
    look = Look(section, {}, series_colors(names) if len(names) > 1 else {}, ranked)
    for one in contents:
        panel = one.panel
        columns = [*panel.y, *panel.marks, *panel.bounds]
        pairs = [pair for other in (panel.marks, panel.bounds) for pair in zip(panel.y, other, strict=False)]
        named = [replace(section.quantity(column), name=column) for column in dict.fromkeys(columns)]
        look.styles |= {name: style for name, style in styles(named, pairs).items() if name not in look.styles}
    return look


def _canvas(rows: list[list[_Cell]]) -> tuple[Canvas, np.ndarray]:
    columns = max(map(len, rows))
    width = {1: 4.8, 2: 7.2}.get(columns, 8.4)
    height = {1: 2.9, 2: 2.7}.get(columns, 2.3)
    height = (
        max(height, 0.9 * width / columns) if any(isinstance(c.content, Paths) for r in rows for c in r) else height
    )
    canvas = Canvas(figsize=(width, 0.1 + height * len(rows)), layout=ConstrainedLayoutEngine(w_pad=0.08))
    return canvas, canvas.subplots(len(rows), columns, squeeze=False)


def _draw_cell(canvas: Canvas, axes: Axes, cell: _Cell, look: Look) -> None:
    if isinstance(cell.content, Grid):
        draw_grid(canvas, axes, look.section, cell.content)
        look.met |= {"hatched"} if cell.content.diverged else set()
    elif isinstance(cell.content, Paths):
        draw_paths(axes, look.section, cell.content)
    elif cell.content.is_empty and not cell.content.diverged:
        say(axes, _missing(look.section, cell.content.panel, cell.content.panel.y))
    else:
        draw_panel(axes, cell.content, look)
    if cell.title:
        axes.set_title(f"{axes.get_title(loc='left')} {plain(cell.title)}".strip(), loc="left")


def _legends(canvas: Canvas, rows: list[list[_Cell]], look: Look) -> None:
    contents = [cell.content for row in rows for cell in row if isinstance(cell.content, Traces)]
    for place, (by, colors) in zip(BESIDE, look.ranks.items(), strict=False):
        title = mathematics(look.section.quantity(by).short)
        if len(colors) > LEGEND:
            title += f"\n({LEGEND} of {len(colors)})"
        canvas.legend(handles=_ranks(by, colors), loc=place, title=title, title_fontsize=8)
    handles = _series_handles(look) + _quantity_handles(contents, look) + _mark_handles(look)
    planes = {cell.content.plane.rays for row in rows for cell in row if isinstance(cell.content, Paths)}
    handles += [handle for rays in sorted(planes) for handle in path_handles(rays)]
    caption = _caption(look)
    if handles:
        columns = _columns(canvas.get_figwidth(), [handle.get_label() for handle in handles])
        lines = math.ceil(len(handles) / columns)
        canvas.set_figheight(canvas.get_figheight() + 0.25 * bool(caption) + 0.19 * lines)
        canvas.legend(
            handles=handles,
            title=caption,
            ncols=columns,
            loc="outside lower center",
            title_fontsize=8,
            columnspacing=1.4,
        )
    elif caption:
        canvas.supxlabel(caption, fontsize=8)


def _columns(width: float, texts: list[str]) -> int:
    """As many as fit in ``width`` inches, at about a fifteenth of an inch a letter and half an inch a symbol."""
    longest = max(len(re.sub(r"\\[A-Za-z,]+|[${}_^\\]", "", text)) for text in texts)
    return max(1, min(4, len(texts), int(width / (longest / 15 + 0.5))))


def _ranks(by: str, colors: dict) -> list[Line2D]:
    keys = list(colors)
    if len(keys) > LEGEND:
        keys = [keys[round(index * (len(keys) - 1) / (LEGEND - 1))] for index in range(LEGEND)]
    texts = distinct([spell_setting(by, key) for key in keys], 24)
    return [
        symbol(
            plain(texts[spell_setting(by, key)]),
            color=colors[key],
            linestyle="--" if number(key) == math.inf else "-",
        )
        for key in keys
    ]


def _series_handles(look: Look) -> list:
    texts = distinct(list(look.series))
    return [Patch(color=color, label=plain(texts[name])) for name, color in look.series.items()]


def _quantity_handles(contents: list[Traces], look: Look) -> list[Line2D]:
    """The quantities of panels that have several; a panel of one says so on its axis."""
    handles: dict[str, Line2D] = {}
    for one in contents:
        shown = dict.fromkeys((line.column, line.role) for line in one.lines)
        if len(shown) < 2:
            continue
        for column, role in shown:
            style = look.styles[column]
            colored = style.color if not one.by and not look.series else "black"
            label = mathematics(look.section.quantity(column).short)
            if role == BOUND_ROLE:
                label = label if "bound" in label else f"{label} (bound)"
                handles.setdefault(column, symbol(label, color=colored, **BOUND))
            else:
                line = "none" if role == MARK else style.linestyle if not one.by or len(one.panel.y) > 1 else "-"
                marker = style.marker if role == MARK or (not one.by and _is_marked(one, column)) else ""
                handles.setdefault(column, symbol(label, color=colored, marker=marker, linestyle=line))
    return list(handles.values())


def _is_marked(traces: Traces, column: str) -> bool:
    return not traces.panel.trajectory and any(len(line.xs) <= FEW for line in traces.lines if line.column == column)


def _mark_handles(look: Look) -> list[Artist]:
    handles: list[Artist] = [
        symbol(label, color=GREY, linewidth=1, linestyle=GUIDES[index % len(GUIDES)])
        for label, index in look.guides.items()
    ]
    if "floor" in look.met:
        handles.append(symbol("hollow: zero, or below rounding", **HOLLOW))
    if "beyond" in look.met:
        handles.append(symbol("infinite", color="black", marker="^", linestyle="none"))
    if "diverged" in look.met:
        handles.append(symbol("diverged", color="black", **CROSS))
    if "hatched" in look.met:
        handles.append(Patch(facecolor="white", edgecolor=GREY, hatch="////", label="diverged"))
    if "unfinished" in look.met:
        handles.append(symbol("not finished", color="black", linestyle=":"))
    return handles


def _caption(look: Look) -> str:
    """How many runs are behind a point, and what their spread shows."""
    if not look.counts:
        return ""
    n = f"n = {min(look.counts)}" + (f"–{max(look.counts)}" if len(look.counts) > 1 else "")
    spread = {
        frozenset(): "",
        frozenset({"deviation"}): "mean ± standard deviation, ",
        frozenset({"extent"}): "mean, bars from least to greatest, ",
    }
    both = "mean ± standard deviation, on logarithmic axes from least to greatest, "
    return spread.get(frozenset(look.spreads), both) + n
