"""Runs of one experiment: a section of the report. Runs that differ by their seed alone are one group."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ..quantities import Quantity, find_quantity
from .item import Item
from .labels import OTHER, labels
from .primitives import Figure, Report
from .reading import Run
from .training import TRAINING
from .values import key_of, last_part, number, order_of

DATA = ("train", "test", "validation")


@dataclass(frozen=True, eq=False)
class Group:
    """The runs that differ by their seed only, in the order of their seeds."""

    settings: dict
    runs: list[Run]

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == "finished"]

    def results(self, key: str) -> list[float]:
        """The finished runs' numbers, without those that were not measured."""
        found = (number(run.results.get(key)) for run in self.finished)
        return [value for value in found if value is not None]


@dataclass(frozen=True, eq=False)
class Section:
    """The runs of one experiment, and what its report shows.

    Args:
        target: the experiment's class path.
        name: what its files are named after.
        runs: each configuration, seed and data once.
        repeated: directories of runs that another directory holds too.
        report: what is shown.
        is_declared: whether the runs say so, or it is shown by default.
        heading: over the section; empty for that of the runs' own report.
    """

    target: str
    name: str
    runs: list[Run]
    repeated: list[Path]
    report: Report
    is_declared: bool
    heading: str = ""

    @property
    def title(self) -> str:
        return self.heading or next(filter(None, (run.words.get("title") for run in self.runs)), self.name)

    @property
    def text(self) -> str:
        return next(filter(None, (run.words.get("text") for run in self.runs)), "")

    @cached_property
    def quantities(self) -> dict[str, Quantity]:
        return {name: quantity for run in self.runs for name, quantity in run.quantities.items()}

    def quantity(self, column: str) -> Quantity:
        """The declaration of a column; a dotted name is known by its last part."""
        last = last_part(column)
        if column in self.quantities or last == column:
            return find_quantity(column, self.quantities)
        found = find_quantity(last, self.quantities)
        if any(column in run.fields for run in self.runs):
            return found
        group = column.removesuffix(f".{last}").replace(".", " ").replace("_", " ")
        return replace(found, name=column, label=f"{group} {found.short}")

    @cached_property
    def varying(self) -> list[str]:
        """The settings, besides the seed, in which the runs differ; alpha first."""
        keys = dict.fromkeys(key for run in self.runs for key in run.changed if key != "seed")
        different = [key for key in keys if len({key_of(run.fields.get(key)) for run in self.runs}) > 1]
        return sorted(different, key=lambda key: key != "alpha")

    def settings(self, run: Run, keys: Iterable[str] | None = None) -> dict:
        """The run's values of ``keys``, by default of those that vary."""
        return {key: run.fields.get(key) for key in (self.varying if keys is None else keys)}

    def names(self, keys: Sequence[str]) -> dict[tuple, str]:
        """The label of every series: of the values of ``keys`` that runs have together."""
        found = {series_of(run, keys): self.settings(run, keys) for run in self.runs}
        ordered = sorted(found, key=lambda one: [order_of(found[one][key]) for key in keys])
        return dict(zip(ordered, labels([found[one] for one in ordered]), strict=True))

    @cached_property
    def groups(self) -> list[Group]:
        """The runs by all that varies but the seed, in the order of the series and then of alpha."""
        keys = [key for key in self.varying if key != "alpha"] + ["alpha"]
        grouped: dict[tuple, list[Run]] = {}
        for run in self.runs:
            grouped.setdefault(series_of(run, keys), []).append(run)
        groups = [
            Group(self.settings(runs[0], keys), sorted(runs, key=lambda run: order_of(run.seed)))
            for runs in grouped.values()
        ]
        return sorted(groups, key=lambda group: [order_of(group.settings[key]) for key in keys])

    def resolve(self, column: str) -> str | None:
        """The field that ``column`` names, by its dotted name or the last part of it; None if no run has it."""
        if column not in self._resolved:
            found = [key for key in self._fields if column in (key, last_part(key), key.rpartition(".")[2])]
            rank = self._fields.__getitem__
            self._resolved[column] = column if column in found else min(found, key=rank, default=None)
        return self._resolved[column]

    @cached_property
    def _resolved(self) -> dict[str, str | None]:
        return {}

    @cached_property
    def _fields(self) -> dict[str, tuple]:
        """The fields of all runs, and what they are preferred by where several have one last part."""
        changed = {key for run in self.runs for key in run.changed}
        return {key: (key not in changed, key.count(".")) for run in self.runs for key in run.fields}


def series_of(run: Run, keys: Iterable[str]) -> tuple:
    """What the run is grouped by: its values of ``keys``."""
    return tuple(key_of(run.fields.get(key)) for key in keys)


def sections(runs: Sequence[Run]) -> list[Section]:
    """A section for every experiment, in the order of their names."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(run.target, []).append(run)
    taken: Counter = Counter()
    found = []
    for target, own in sorted(grouped.items()):
        name = _name(target, own)
        taken[name.lower()] += 1
        name += f"-{taken[name.lower()]}" if taken[name.lower()] > 1 else ""
        kept, repeated = _drop_repeated(_apart_by_data(own))
        is_declared = any(run.report is not None for run in own)
        report = Report(*_items(own)) if is_declared else TRAINING
        found.append(Section(target, name, kept, repeated, report, is_declared))
    return found


def safe_name(text: str) -> str:
    """``text`` as the name of a file, without an ending."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-")[:60] or "unnamed"


def _name(target: str, runs: list[Run]) -> str:
    names = {name for run in runs if (name := run.words.get("name"))}
    return safe_name(names.pop() if len(names) == 1 else target.rpartition(".")[2])


def _items(runs: list[Run]) -> list[Item]:
    """The items of all reports, each once; figures of one name that differ get another."""
    items: list[Item] = []
    for item in (item for run in runs if run.report for item in run.report.items):
        if item not in items:
            items.append(item)
    taken: Counter = Counter()
    for index, item in enumerate(items):
        if isinstance(item, Figure):
            name = safe_name(item.name)
            taken[name.lower()] += 1
            name += f"-{taken[name.lower()]}" if taken[name.lower()] > 1 else ""
            items[index] = Figure(name, *item.panels, caption=item.caption)
    return items


def _apart_by_data(runs: list[Run]) -> list[Run]:
    """``runs``, with the setting OTHER where one configuration and seed met several data, or a seed several networks.

    Only those series are split: of each of their seeds, the fingerprints that most runs have are the series' own.
    """
    everything: dict[tuple, list[Run]] = {}
    for run in runs:
        everything.setdefault(_identity(run, without=("alpha", "seed")), []).append(run)
    return [one for series in everything.values() for one in _split(series)]


def _split(series: list[Run]) -> list[Run]:
    parts = sorted(set.intersection(*(set(run.fingerprints) for run in series)))
    seen: dict[tuple, set] = {}
    code = [part for part in parts if part not in DATA]  # one seed has one network and one loss at every alpha
    for run in series:
        seen.setdefault((_identity(run, without=()), ()), set()).add(_fingerprint(run, parts))
        seen.setdefault(((), key_of(run.seed)), set()).add(_fingerprint(run, code))
    if all(len(prints) == 1 for prints in seen.values()):
        return series
    counts = Counter(_fingerprint(run, parts) for run in series)
    split = []
    for seed in dict.fromkeys(key_of(run.seed) for run in series):
        own = [run for run in series if key_of(run.seed) == seed]
        prints = sorted({_fingerprint(run, parts): run.path for run in reversed(own)}.items(), key=lambda one: one[1])
        ranked = [one for one, _ in sorted(prints, key=lambda one: -counts[one[0]])]
        for run in own:
            rank = ranked.index(_fingerprint(run, parts))
            split.append(_mark(run, _difference(ranked[0], ranked[rank], parts), rank) if rank else run)
    return split


def _mark(run: Run, words: str, rank: int) -> Run:
    mark = {OTHER: words if rank == 1 else f"{words} ({rank})"}
    return replace(run, fields=run.fields | mark, changed=run.changed | mark)


def _difference(own: tuple, other: tuple, parts: list[str]) -> str:
    """other data, or other network or loss where the data are the same."""
    names = ["data" if part in DATA else part for part, a, b in zip(parts, own, other, strict=True) if a != b]
    return f"other {'data' if 'data' in names else names[0]}"


def _fingerprint(run: Run, parts: list[str]) -> tuple:
    return tuple(run.fingerprints[part] for part in parts)


def _identity(run: Run, without: tuple[str, ...]) -> tuple:
    kept = {key: key_of(value) for key, value in run.changed.items() if key not in without}
    return tuple(sorted(kept.items(), key=lambda one: one[0]))


def _drop_repeated(runs: list[Run]) -> tuple[list[Run], list[Path]]:
    """Each configuration and seed once: the finished run, or else the one that came farthest."""
    kept: dict[tuple, Run] = {}
    repeated = []
    for run in sorted(runs, key=lambda run: (run.status != "finished", -(run.epoch or 0), run.path)):
        identity = _identity(run, without=())
        if identity in kept:
            repeated.append(run.path)
        else:
            kept[identity] = run
    return sorted(kept.values(), key=lambda run: run.path), sorted(repeated)
