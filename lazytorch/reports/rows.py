"""The rows of a table: what each run has in it, and beside it the run's own fields."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from .reading import Run
from .sections import Section
from .values import same

LAYER = "layer"  # the column of the names of layers, where a quantity has a value for each


@dataclass(frozen=True, eq=False)
class Row:
    """A row: its own values, before those of its run's fields."""

    section: Section
    run: Run
    values: Mapping

    def get(self, column: str) -> object:
        """The value in ``column``, None where there is none."""
        if column in self.values:
            return self.values[column]
        field = self.section.resolve(column)
        return None if field is None else self.run.fields.get(field)

    @property
    def diverged(self) -> bool:
        """Whether the row itself says so."""
        return self.values.get("status") == "diverged"


def rows(section: Section, table: str, where: Mapping | None = None) -> list[Row]:
    """The rows of ``table`` of all runs, where the columns of ``where`` have its values.

    The summary has a row for every run, without results unless the run is finished.
    """
    found = (Row(section, run, values) for run in section.runs for values in _values(run, table))
    return [row for row in found if all(same(row.get(key), value) for key, value in (where or {}).items())]


def by_layer(found: list[Row], columns: tuple[str, ...]) -> list[Row]:
    """``found``, with a row for every layer where one of ``columns`` has a value for each."""
    return [one for row in found for one in _layers(row, columns)]


def is_own(section: Section, table: str, column: str) -> bool:
    """Whether ``column`` is one of the table itself, not a field of the runs."""
    return any(column in values for run in section.runs for values in _values(run, table))


def _layers(row: Row, columns: tuple[str, ...]) -> Iterator[Row]:
    mappings = {column: row.values[column] for column in columns if isinstance(row.values.get(column), Mapping)}
    if not mappings:
        yield row
    for layer in dict.fromkeys(layer for values in mappings.values() for layer in values):
        own = {column: values.get(layer) for column, values in mappings.items()}
        yield replace(row, values=dict(row.values) | {LAYER: layer or "network"} | own)


def _values(run: Run, table: str) -> list[dict]:
    if table == "summary":
        own = run.results if run.status == "finished" else {}
        return [{key: value for key, value in own.items() if key not in ("alpha", "seed", "status")}]
    if table == "metrics":
        return [{key: value for key, value in values.items() if key != "alpha"} for values in run.metrics]
    return run.tables.get(table, [])
