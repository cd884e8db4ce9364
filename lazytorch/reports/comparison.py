"""Published numbers beside ours: mean, spread, n, difference, and in what the protocol differs."""

from collections.abc import Mapping

from .labels import spell_setting
from .primitives import Published, PublishedRow
from .reading import Run
from .sections import Group, Section
from .tables import Rows, has_alpha, heading, series_label, spread, statistics
from .values import same, spell


def published(section: Section, item: Published) -> Rows | None:
    """A row for each of the item's, or for each group of runs that it describes; None if the item has no rows."""
    if not item.rows:
        return None
    columns = list(dict.fromkeys(key for row in item.rows for key in row.values))
    head = ["published"]
    for column in columns:
        head += [heading(section, column), "ours", "difference"]
    rows = [line for row in item.rows for line in _lines(section, item, row, columns)]
    return Rows([*head, "n", "remark"], rows)


def differences(section: Section, item: Published) -> list[str]:
    """In what the runs of ``section`` are not what the item's protocol asks for."""
    found = (line for group in section.groups for line in _differences(group, item.protocol))
    return list(dict.fromkeys(found))


def described(section: Section, row: PublishedRow) -> list[Group]:
    """The groups of runs that ``row`` is to be set beside."""
    return [group for group in section.groups if is_described(group.runs[0], row)]


def is_described(run: Run, row: PublishedRow) -> bool:
    """Whether the run has the fields, and with ``_target_`` is of the experiment, that ``row`` asks for."""
    fields = run.fields | {"_target_": run.target}
    return bool(row.where) and all(same(fields.get(key), value) for key, value in row.where.items())


def _lines(section: Section, item: Published, row: PublishedRow, columns: list[str]) -> list[list[str]]:
    groups = described(section, row)
    if not groups:
        return [_line(section, row, columns, None, "no such run" if row.where else "")]
    lines = []
    for group in groups:
        differing = _differences(group, {**item.protocol, **row.protocol})
        remarks = [f"not comparable: {', '.join(differing)}"] if differing else []
        if not group.finished:
            remarks.append("not finished")
        if len(groups) > 1:
            alpha = f"alpha={spell(group.settings.get('alpha'))}" if has_alpha(section) else ""
            remarks.insert(0, ", ".join(part for part in (series_label(section, group), alpha) if part))
        lines.append(_line(section, row, columns, group, "; ".join(filter(None, remarks))))
    return lines


def _line(section: Section, row: PublishedRow, columns: list[str], group: Group | None, remark: str) -> list[str]:
    cells = [row.label]
    for column in columns:
        quantity, theirs = section.quantity(column), row.values.get(column)
        ours = group.results(column) if group else []
        difference = "–"
        if ours and theirs is not None:
            change = statistics(ours)[0] - theirs
            difference = f"{'+' if change > 0 else ''}{quantity.spell(change)}"
        cells += [quantity.spell(theirs), spread(quantity, ours), difference]
    return [*cells, str(len(group.finished)) if group else "0", remark]


def _differences(group: Group, protocol: Mapping) -> list[str]:
    """Of every run, since fields that do not count for the identity may differ within a group."""
    return list(
        dict.fromkeys(
            _difference(key, run.fields.get(key), value)
            for run in group.runs
            for key, value in protocol.items()
            if not same(run.fields.get(key), value)
        )
    )


def _difference(key: str, ours: object, theirs: object) -> str:
    here, there = ("not set" if value is None else spell_setting(key, value) for value in (ours, theirs))
    return f"{key.removesuffix('._target_')} is {here} ({there} there)"
