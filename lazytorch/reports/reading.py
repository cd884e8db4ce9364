"""What run directories hold, for reports: every record read and checked once, whatever is damaged left out by name."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from os import PathLike
from pathlib import Path

from ..quantities import Quantity
from ..runs import RunDirectory, find
from .primitives import Figure, Plane, Report, Table
from .values import flatten

BESIDE = ("layout", "changed", "versions", "fingerprints", "about")
DIGITS = re.compile(r"\.?\d{0,2}[efg]?")


@dataclass(frozen=True, eq=False)
class Run:
    """One run, as its records tell it.

    Args:
        path: its directory.
        target: what was run, a dotted class path.
        fields: every field of its configuration, by dotted name.
        changed: those that tell it apart from other runs, by dotted name; alpha and seed among them, where it has them.
        summary: the result, {} while there is none.
        metrics: one row an evaluation.
        tables: the tables that its report shows, by name.
        report: what its report shows; None if it does not say.
        words: ``name``, ``title`` and ``text`` of its report.
        quantities: those that its report declares.
        fingerprints, versions, about: what it recorded beside the configuration.
    """

    path: Path
    target: str
    fields: dict
    changed: dict
    summary: dict = field(default_factory=dict)
    metrics: list[dict] = field(default_factory=list)
    tables: dict[str, list[dict]] = field(default_factory=dict)
    report: Report | None = None
    words: dict[str, str] = field(default_factory=dict)
    quantities: dict[str, Quantity] = field(default_factory=dict)
    fingerprints: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    @property
    def seed(self) -> object:
        return self.fields.get("seed")

    @property
    def status(self) -> str:
        """finished, diverged, interrupted or failed; without a summary, unfinished."""
        return self.summary.get("status") or "unfinished"

    @property
    def epoch(self) -> float | None:
        """The last epoch on record."""
        return max((row["epoch"] for row in self.metrics), default=None)

    @cached_property
    def results(self) -> dict:
        """The summary's numbers, by dotted name, and what only the last evaluation has."""
        last = self.metrics[-1] if self.metrics else {}
        found = flatten({key: value for key, value in last.items() if not isinstance(value, Mapping)})
        found |= flatten({key: value for key, value in self.summary.items() if key not in ("claims", "not_measured")})
        return found


def read_runs(paths: Iterable[str | PathLike]) -> tuple[list[Run], list[tuple[str, str]]]:
    """The runs at or below ``paths``, in the order of their paths, and what was left out: path and reason."""
    runs, left_out, seen = [], [], set()
    for path in paths:
        try:
            found = find([path])
        except (OSError, ValueError) as error:
            left_out.append((str(path), one_line(error)))
            continue
        for directory in found:
            real = directory.path.resolve()
            if real in seen:
                continue
            seen.add(real)
            try:
                runs.append(read_run(directory))
            except (OSError, ValueError) as error:
                left_out.append((str(directory.path), one_line(error)))
    return sorted(runs, key=lambda run: run.path), left_out


def read_run(directory: RunDirectory) -> Run:
    """Read one run.

    Raises:
        OSError, ValueError: a record is damaged, or is none of a run.
    """
    config = directory.config
    for key in ("_target_", "changed"):
        if not config.get(key):
            raise ValueError(f"{directory.path / 'config.yaml'} has no {key}, which tells what was run; restore it")
    own = {key: value for key, value in config.items() if key not in (*BESIDE, "_target_")}
    changed = flatten(config["changed"])
    document = directory.report
    report = _read_report(directory, document)
    return Run(
        path=directory.path,
        target=config["_target_"],
        fields=flatten(own) | changed,
        changed=changed,
        summary=directory.summary or {},
        metrics=directory.metrics,
        tables={name: directory.table(name) for name in _tables(report) if name in directory.tables},
        report=report,
        words={key: value for key, value in (document or {}).items() if isinstance(value, str)},
        quantities=_read_quantities(directory, document),
        fingerprints=config.get("fingerprints") or {},
        versions=config.get("versions") or {},
        about=config.get("about") or {},
    )


def one_line(error: BaseException) -> str:
    """The message of ``error`` without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _read_report(directory: RunDirectory, document: dict | None) -> Report | None:
    if document is None:
        return None
    try:
        return Report.from_dict(document)
    except ValueError as error:
        raise ValueError(f"{directory.path / 'report.json'} cannot be used: {error}; run it again") from None


def _tables(report: Report | None) -> list[str]:
    """The names of the csv tables that ``report`` shows."""
    items = [item for own in (report.items if report else ()) for item in getattr(own, "items", (own,))]
    panels = [panel for item in items if isinstance(item, Figure) for panel in item.panels]
    shown = panels + [item for item in items if isinstance(item, Table)]
    names = [one.table for one in shown] + [one.rays for one in panels if isinstance(one, Plane)]
    return [name for name in dict.fromkeys(names) if name not in ("summary", "metrics")]


def _read_quantities(directory: RunDirectory, document: dict | None) -> dict[str, Quantity]:
    declared = (document or {}).get("quantities") or {}
    defaults = Quantity("")
    kinds = {one.name: type(getattr(defaults, one.name)) for one in fields(Quantity)} | {"tag": str | None}
    quantities = {}
    for name, values in declared.items():
        known = {"name": name} | {key: value for key, value in values.items() if key in kinds}
        for key, value in known.items():
            kind = float | int if key == "floor" else kinds[key]
            if not isinstance(value, kind) or (key == "digits" and not DIGITS.fullmatch(value)):
                where = directory.path / "report.json"
                raise ValueError(f"{where} cannot be used: the quantity {name} has {key}={value!r}; run it again")
        quantities[name] = Quantity(**known)
    return quantities
