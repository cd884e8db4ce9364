"""What a panel draws, before it is drawn: points, by line, and where runs diverged."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from .primitives import HeatMap, Panel
from .rows import LAYER, Row, by_layer, is_own, rows
from .sections import Section, series_of
from .values import key_of, number, order_of, same, spell

LINE, BOUND, MARK = "line", "bound", "mark"
HUGE = 1e290  # from which on a value is drawn as infinite: squares and percents of it are


@dataclass(frozen=True)
class Trace:
    """A line: the values of ``column``, over seeds, at every one of ``xs``.

    ``series`` is the label of the settings, ``by`` the value that the panel's ``by`` has, ``status`` that of the runs.
    """

    column: str
    role: str
    series: str
    by: object
    status: str
    xs: list
    values: list[list[float]]

    @property
    def means(self) -> list[float]:
        return [sum(values) / len(values) for values in self.values]


@dataclass(frozen=True)
class Traces:
    """A panel's lines, and the (series, x) of runs that diverged.

    ``x`` and ``by`` are the columns in use, which are others than the panel's where those do not vary.
    """

    panel: Panel
    x: str
    by: str | None
    lines: list[Trace]
    diverged: list[tuple[str, object]]

    @property
    def places(self) -> list:
        """All x, in order: numbers, or words."""
        found = {x for line in self.lines for x in line.xs} | {x for _, x in self.diverged}
        return sorted(found, key=order_of)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not self.lines


def trace(section: Section, panel: Panel) -> Traces:
    """What ``panel`` draws of the runs of ``section``."""
    roles = ((LINE, panel.y), (MARK, panel.marks), (BOUND, panel.bounds))
    wanted = [(role, column) for role, columns in roles for column in columns]
    found = rows(section, panel.table, panel.where)
    by = panel.by
    if by is None:
        layered = by_layer(found, tuple(column for _, column in wanted))
        by = LAYER if len(layered) != len(found) or any(LAYER in row.values for row in layered) else None
        found = layered if by else found
    x = _varying_column(section, panel, panel.x, found, (by,)) if panel.table == "summary" else panel.x
    by = _varying_column(section, panel, by, found, (x,)) if by and panel.by else by
    keys = _series_keys(section, panel.table, (x, by))
    names = section.names(keys)
    lines: dict[tuple, dict] = {}
    heads: dict[tuple, tuple] = {}
    for row in found:
        place = _place(row.get(x))
        if place is None or row.diverged:
            continue
        whole = row.run.status == "finished" and not panel.trajectory
        series, own = names[series_of(row.run, keys)], row.get(by) if by else None
        for role, column in wanted:
            value = number(row.get(column))
            if value is not None:
                value = value if abs(value) < HUGE else math.copysign(math.inf, value)
                key = (role, column, series, key_of(own), None if whole else row.run.path)
                points = lines.setdefault(key, {})
                step = len(points) if panel.trajectory else 0
                points.setdefault((step, place), []).append(value)
                heads[key] = (column, role, series, own, row.run.status)
    traced = [_finish(heads[key], points, panel.trajectory) for key, points in lines.items()]
    diverged = [] if panel.trajectory else _diverged(section, panel, found, x, names, keys)
    traced.sort(
        key=lambda line: (*_order(line, list(names.values()), wanted), order_of(number(line.by)))
    )  # words as they came
    return Traces(panel, x, by, traced, diverged)


@dataclass(frozen=True)
class Grid:
    """The cells of a heat map: (x, y) -> values over seeds, the cells of runs that diverged, and those on one side of
    the contour and on the other: (x, y) -> how many runs more have it true than false."""

    x: str
    y: str
    value: str
    cells: dict[tuple, list[float]]
    diverged: set[tuple]
    sides: dict[tuple, int]

    @property
    def xs(self) -> list:
        return sorted({x for x, _ in (*self.cells, *self.diverged)}, key=order_of)

    @property
    def ys(self) -> list:
        return sorted({y for _, y in (*self.cells, *self.diverged)}, key=order_of)

    @property
    def is_empty(self) -> bool:
        """Whether there is no grid."""
        return not self.cells or len(self.xs) < 2 or len(self.ys) < 2


def grid(section: Section, panel: HeatMap) -> dict[str, Grid]:
    """A grid for every series: of the runs that agree in all but x, y and the seed."""
    keys = _series_keys(section, panel.table, (panel.x, panel.y))
    names = section.names(keys)
    grids: dict[str, Grid] = {}
    for row in rows(section, panel.table, panel.where):
        place = _place(row.get(panel.x)), _place(row.get(panel.y))
        if None in place:
            continue
        one = grids.setdefault(names[series_of(row.run, keys)], Grid(panel.x, panel.y, panel.value, {}, set(), {}))
        if isinstance(side := row.get(panel.contour) if panel.contour else None, bool):
            one.sides[place] = one.sides.get(place, 0) + (1 if side else -1)
        value = number(row.get(panel.value))
        if row.diverged or row.run.status == "diverged":
            one.diverged.add(place)
        elif value is not None and abs(value) < HUGE:
            one.cells.setdefault(place, []).append(value)
    return {name: grids[name] for name in names.values() if name in grids}


def reasons(section: Section, columns: Iterable[str]) -> list[str]:
    """Why ``columns`` were not measured, as the runs say."""
    found = {}
    for run in section.runs:
        for probe, reason in (run.summary.get("not_measured") or {}).items():
            if any(probe == column or column in str(reason) or _alike(probe, column) for column in columns):
                found[" ".join(str(reason).split())] = None
    return list(found)


def _alike(probe: str, column: str) -> bool:
    one, other = (text.lower().replace("_", "") for text in (probe, column))
    return one in other or other in one


def _place(value: object) -> object:
    """Where a row is on an axis: a number, or a word; None where it has no value."""
    found = number(value)
    return found if found is not None or value is None else spell(value)


def _finish(head: tuple, points: dict, in_order: bool) -> Trace:
    places = list(points) if in_order else sorted(points, key=lambda one: order_of(one[1]))
    return Trace(*head, xs=[place for _, place in places], values=[points[one] for one in places])


def _varying_column(section: Section, panel: Panel, column: str, found: list[Row], used: tuple) -> str:
    """``column``, or a numeric setting that varies among the runs where ``column`` does not."""
    if len({key_of(row.get(column)) for row in found}) > 1:
        return column
    taken = {section.resolve(name) for name in used if name} | {section.resolve(name) for name in panel.where}
    counts = {}
    for key in section.varying:
        values = {key_of(row.run.fields.get(key)) for row in found}
        if key not in taken and len(values) > 1 and all(isinstance(value, float) for value in values):
            counts[key] = len(values)
    return max(counts, key=counts.__getitem__, default=column)


def _series_keys(section: Section, table: str, used: tuple) -> list[str]:
    """The settings that tell series apart: those that vary, without the ones that a panel shows otherwise."""
    shown = {section.resolve(column) for column in used if column and _is_field(section, table, column)}
    return [key for key in section.varying if key not in shown]


def _is_field(section: Section, table: str, column: str) -> bool:
    """Whether ``column`` is a field of the runs, and not one of the table's own with other values."""
    if not is_own(section, table, column):
        return True
    field = section.resolve(column)
    own = (row for row in rows(section, table) if column in row.values)
    return field is not None and all(same(row.values[column], row.run.fields.get(field)) for row in own)


def _diverged(section: Section, panel: Panel, found: list[Row], x: str, names: dict, keys: list) -> list:
    """Of runs that diverged, where x is one of their fields; of rows that say so, anywhere."""
    of_runs = not is_own(section, panel.table, x)
    marked = {}
    for row in found:
        place = _place(row.get(x))
        if place is not None and (row.diverged or (of_runs and row.run.status == "diverged")):
            marked[names[series_of(row.run, keys)], place] = None
    return list(marked)


def _order(line: Trace, names: list[str], wanted: list[tuple[str, str]]) -> tuple[int, int]:
    return names.index(line.series), wanted.index((line.role, line.column))
