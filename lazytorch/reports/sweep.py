"""What run directories hold: series of settings, in each a cell for every alpha, in each a run for every seed."""

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np

from lazytorch.runs import RunDirectory, canonical, find, read_alpha


@dataclass(frozen=True)
class Member:
    """One run, as its records tell it; `settings` is all that changes the result, but alpha and seed, by dotted key."""

    path: Path
    config: dict
    settings: dict
    summary: dict
    metrics: list[dict]

    @property
    def alpha(self) -> float:
        return read_alpha(self.config["alpha"])

    @property
    def seed(self) -> int:
        return self.config["seed"]

    @property
    def status(self) -> str:
        """finished, diverged or interrupted; without a summary, unfinished."""
        return self.summary.get("status", "unfinished")

    @property
    def epoch(self) -> int:
        """The last epoch on record."""
        return max((row["epoch"] for row in self.metrics), default=0)

    def result(self, key: str) -> float:
        """The summary's number, else that of the last evaluation; nan where neither has one."""
        last = self.metrics[-1] if self.metrics else {}
        value = self.summary.get(key, last.get(key))
        return math.nan if value is None else float(value)

    def curve(self, key: str) -> np.ndarray:
        """(evaluations, 2): epoch and value, nan where there is none."""
        rows = [(row["epoch"], math.nan if row.get(key) is None else row[key]) for row in self.metrics]
        return np.array(rows, dtype=float).reshape(-1, 2)


@dataclass(frozen=True)
class Cell:
    """The runs that differ by their seed only."""

    alpha: float
    members: list[Member]

    @property
    def finished(self) -> list[Member]:
        return [member for member in self.members if member.status == "finished"]

    @property
    def diverged(self) -> list[Member]:
        return [member for member in self.members if member.status == "diverged"]

    def results(self, key: str) -> np.ndarray:
        """The finished runs' numbers, without those that were not measured."""
        values = np.array([member.result(key) for member in self.finished])
        return values[np.isfinite(values)]


@dataclass(frozen=True)
class Series:
    """The cells that differ by their alpha only, in the order of alpha."""

    label: str
    settings: dict
    cells: list[Cell]

    @property
    def members(self) -> list[Member]:
        return [member for cell in self.cells for member in cell.members]


@dataclass(frozen=True)
class Sweep:
    """Everything a report is made from; `repeated` are runs that another run directory holds too, counted once."""

    series: list[Series]
    repeated: list[Path]

    @cached_property
    def members(self) -> list[Member]:
        return [member for series in self.series for member in series.members]

    @property
    def cells(self) -> list[Cell]:
        return [cell for series in self.series for cell in series.cells]

    @cached_property
    def alphas(self) -> list[float]:
        return sorted({member.alpha for member in self.members})

    @property
    def varying(self) -> list[str]:
        """The settings, besides alpha and seed, in which the series differ."""
        return _varying([series.settings for series in self.series])


def read_sweep(paths: Iterable[str | PathLike]) -> Sweep:
    """Read the run directory of every training run at or below `paths`; other kinds of runs are left out.

    Raises:
        FileNotFoundError: one of `paths` does not exist.
        ValueError: there is no training run.
    """
    paths = list(paths)
    members = _apart_by_data([_read(run) for run in find(paths) if "kind" not in run.config])
    if not members:
        where = ", ".join(str(path) for path in paths)
        raise ValueError(f"no run directory at or below {where}; train one with lazytorch, or give its runs_dir")
    return _group(members)


def _read(run: RunDirectory) -> Member:
    settings = _flat(json.loads(canonical(run.config)))
    for key in ("alpha", "seed"):
        settings.pop(key, None)
    return Member(run.path, run.config, settings, run.summary or {}, run.metrics)


def _apart_by_data(members: list[Member]) -> list[Member]:
    """`members`, with the data's fingerprint among the settings if one configuration has met two kinds of data.

    It is not always there because seeded data have another fingerprint for every seed.
    """
    seen: dict[str, set[str]] = {}
    for member in members:
        seen.setdefault(json.dumps([member.seed, _data(member)]), set()).add(_fingerprint(member))
    if all(len(fingerprints) == 1 for fingerprints in seen.values()):
        return members
    for member in members:
        member.settings["data_fingerprint"] = _fingerprint(member)
    return members


def _data(member: Member) -> dict:
    # The model's image_size is the size that its images have been brought to.
    return {key: v for key, v in member.settings.items() if key.startswith("data.") or key == "model.image_size"}


def _fingerprint(member: Member) -> str:
    text = json.dumps(member.config["data_fingerprint"], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _group(members: list[Member]) -> Sweep:
    tree: dict[str, dict[float, dict[int, Member]]] = {}
    repeated = []
    for member in sorted(members, key=_finished_first):
        cell = tree.setdefault(json.dumps(member.settings, sort_keys=True), {}).setdefault(member.alpha, {})
        if member.seed in cell:
            repeated.append(member.path)
        else:
            cell[member.seed] = member
    settings = [json.loads(key) for key in tree]
    series = [
        Series(
            label,
            own,
            [Cell(alpha, [cell[seed] for seed in sorted(cell)]) for alpha, cell in sorted(cells.items())],
        )
        for label, own, cells in zip(_labels(settings), settings, tree.values(), strict=True)
    ]
    return Sweep(sorted(series, key=lambda one: one.label), repeated)


def _finished_first(member: Member) -> tuple:
    return member.status != "finished", -member.epoch, member.path


def _labels(settings: Sequence[dict]) -> list[str]:
    """A name for each of `settings` by as few of the keys that vary as tell them apart; "" if there is one only."""
    chosen: list[str] = []
    for key in _varying(settings):
        if _count(settings, [*chosen, key]) > _count(settings, chosen):
            chosen.append(key)
    short = [", ".join(_spell(key, own.get(key)) for key in chosen) for own in settings]
    full = [", ".join(f"{key}={own.get(key)}" for key in chosen) for own in settings]
    return short if len(set(short)) == len(short) else full


def _varying(settings: Sequence[dict]) -> list[str]:
    keys = dict.fromkeys(key for own in settings for key in own)
    return [key for key in keys if _count(settings, [key]) > 1]


def _count(settings: Sequence[dict], keys: list[str]) -> int:
    """How many of `settings` the values of `keys` tell apart."""
    return len({json.dumps([own.get(key) for key in keys]) for own in settings})


def _spell(key: str, value: object) -> str:
    if key.endswith("_target_"):
        return f"{key.removesuffix('._target_')}={str(value).rpartition('.')[2]}"
    return f"{key}={value:.12g}" if isinstance(value, float) else f"{key}={value}"


def _flat(config: dict, prefix: str = "") -> dict:
    """Nested mappings as one, keyed by dotted names."""
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
