"""Tables for reading, and table.csv: mean and standard deviation over the runs that differ by seed alone."""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..quantities import QUANTITIES, Quantity, summary_names
from .labels import spell_setting, words
from .primitives import Table
from .sections import Group, Section, series_of
from .values import key_of, number, spell

LONGEST, FIRST, LAST = 30, 20, 5  # rows of a table for reading, beyond which the first and the last are shown
NOT_RESULTS = ("alpha", "seed", "status", "error", "verdict", "epoch", "step")


@dataclass(frozen=True)
class Rows:
    """A table as texts, with a note beneath it."""

    head: list[str]
    rows: list[list[str]]
    note: str = ""


def table(section: Section, item: Table) -> Rows | None:
    """What ``item`` shows; None if no run has any of it."""
    rows = _summary(section, item) if item.table == "summary" else _of_runs(section, item)
    if rows is None or len(rows.rows) <= LONGEST:
        return rows
    note = f"{FIRST + LAST} of {len(rows.rows)} rows: the first {FIRST} and the last {LAST}."
    gap = ["…"] + [""] * (len(rows.head) - 1)
    return Rows(rows.head, [*rows.rows[:FIRST], gap, *rows.rows[-LAST:]], f"{note} {rows.note}".strip())


def result_names(section: Section) -> list[str]:
    """The numbers that the runs measured, those of the declared quantities first.

    Of what only the last evaluation has, those that the package does not know: it declares what a summary holds.
    """
    known = [name for name, one in QUANTITIES.items() if not one.in_summary]
    found: dict[str, None] = {}
    for run in section.runs:
        for key, value in run.results.items():
            of_summary = key.partition(".")[0] in run.summary
            if number(value) is not None and key not in NOT_RESULTS and (of_summary or key not in known):
                found[key] = None
    order = [*summary_names(), *section.quantities]
    return sorted(found, key=lambda key: order.index(key) if key in order else len(order))


def heading(section: Section, column: str) -> str:
    """What a column of numbers is called, with its unit."""
    quantity = section.quantity(column)
    return (words(quantity.short) or column.replace("_", " ")) + (" (%)" if quantity.percent else "")


def spread(quantity: Quantity, values: Sequence[float]) -> str:
    """The mean, and ± the sample standard deviation of several values."""
    mean, deviation = statistics(values)
    if math.isnan(mean):
        return "–"
    text = "0" if mean == 0 and not quantity.percent else quantity.spell(mean)
    return text if math.isnan(deviation) or deviation == 0 else f"{text} ± {quantity.spell(deviation)}"


def statistics(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; nan where there are too few values."""
    if not values:
        return math.nan, math.nan
    if len(set(values)) == 1:  # without the rounding of a mean
        return values[0], 0.0 if len(values) > 1 else math.nan
    mean = math.fsum(values) / len(values) if all(map(math.isfinite, values)) else sum(values)
    if len(values) < 2 or not math.isfinite(mean):
        return mean, math.nan
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def status(group: Group) -> str:
    """The common status of a group's runs, or how many have which."""
    counts = Counter(run.status for run in group.runs)
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))


def series_label(section: Section, group: Group) -> str:
    """The name of the group's series: of all that varies but alpha."""
    keys = [key for key in section.varying if key != "alpha"]
    return section.names(keys)[series_of(group.runs[0], keys)]


def has_alpha(section: Section) -> bool:
    """Whether the runs have a scale."""
    return any("alpha" in run.fields for run in section.runs)


def write_csv(sections: Iterable[Section]) -> str:
    """A row for every group of all ``sections``: mean, sample standard deviation and number of the finished runs.

    Numbers are in full, and nothing where nothing was measured; texts that a spreadsheet would take for a formula are
    quoted.
    """
    sections = list(sections)
    settings = dict.fromkeys(key for section in sections for key in section.varying if key != "alpha")
    names = dict.fromkeys(name for section in sections for name in result_names(section))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measured = [f"{name}_{kind}" for name in names for kind in ("mean", "std")]
    writer.writerow(map(_safe, ["experiment", *settings, "alpha", "seeds", "n", "status", *measured]))
    for section in sections:
        for group in section.groups:
            own = [group.settings.get(key) for key in (*settings, "alpha")]
            seeds = " ".join(spell(run.seed, 17) for run in group.runs if run.seed is not None)
            counted = [seeds, len(group.finished), status(group)]
            numbers = [value for name in names for value in statistics(group.results(name))]
            writer.writerow(map(_safe, [section.name, *own, *counted, *numbers]))
    return text.getvalue()


def _safe(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool | int):
        return str(value).lower() if isinstance(value, bool) else value
    if isinstance(value, float):
        return repr(value)
    text = spell(value, 17)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _summary(section: Section, item: Table) -> Rows | None:
    columns = [name for name in item.columns or result_names(section)]
    columns = [name for name in columns if any(group.results(name) for group in section.groups)]
    if not columns and item.columns:
        return None
    several, alpha = len({series_label(section, group) for group in section.groups}) > 1, has_alpha(section)
    head = ["series"] * several + ["alpha"] * alpha + ["n", "status"]
    rows = []
    for group in section.groups:
        cells = [series_label(section, group)] * several + [spell(group.settings.get("alpha"))] * alpha
        cells += [str(len(group.finished)), status(group)]
        for name in columns:
            values = group.results(name)
            fewer = f" (n = {len(values)})" if 0 < len(values) < len(group.finished) else ""
            cells.append(spread(section.quantity(name), values) + fewer)
        rows.append(cells)
    return Rows([*head, *(heading(section, name) for name in columns)], rows)


def _of_runs(section: Section, item: Table) -> Rows | None:
    """The rows of a csv, or of the metrics; those of runs that differ by seed alone become one where they match."""
    found = []
    for group in section.groups:
        name = _group_name(section, group)
        tables = [_rows_of(run, item.table) for run in group.runs]
        found += [(name, row, n) for row, n in _merged([rows for rows in tables if rows])]
    columns = item.columns or tuple(dict.fromkeys(column for _, row, _ in found for column in row))
    columns = tuple(column for column in columns if any(row.get(column) for _, row, _ in found))
    if not columns:
        return None
    several = len({name for name, _, _ in found}) > 1
    counted = any(n > 1 for _, _, n in found)
    head = ["runs"] * several + [heading(section, column) for column in columns] + ["n"] * counted
    rows = [
        [name] * several + [_cell(section, column, row.get(column) or []) for column in columns] + [str(n)] * counted
        for name, row, n in found
    ]
    return Rows(head, rows)


def _rows_of(run, name: str) -> list[dict]:
    return run.metrics if name == "metrics" else run.tables.get(name, [])


def _group_name(section: Section, group: Group) -> str:
    alpha = f"alpha={spell(group.settings.get('alpha'))}" if has_alpha(section) else ""
    return ", ".join(part for part in (series_label(section, group), alpha) if part)


def _merged(tables: list[list[dict]]) -> list[tuple[dict[str, list], int]]:
    """Rows of several tables, matched one to one, as column -> values; one table after the other if they do not match.

    They match if they have as many rows and the same columns, and the same words in them.
    """
    if not tables:
        return []
    match = all(len(rows) == len(tables[0]) for rows in tables) and all(
        _shape(rows) == _shape(tables[0]) for rows in tables
    )
    if not match:
        return [one for rows in tables for one in _merged([rows])]
    return [
        ({column: [row.get(column) for row in aligned] for column in aligned[0]}, len(aligned))
        for aligned in zip(*tables, strict=True)
    ]


def _shape(rows: list[dict]) -> list:
    return [[(key, None if number(value) is not None else key_of(value)) for key, value in row.items()] for row in rows]


def _cell(section: Section, column: str, values: list) -> str:
    numbers = [found for value in values if (found := number(value)) is not None]
    if not values or len(numbers) < len(values):
        return spell_setting(column, values[0]) if values and values[0] is not None else "–"
    quantity = section.quantity(column)
    if len(set(numbers)) > 1:
        return spread(quantity, numbers)
    return spread(quantity, numbers[:1]) if quantity != Quantity(quantity.name) else spell(numbers[0], 4)
