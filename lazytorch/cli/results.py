"""Results in the terminal: a line for each run, and the table that closes a sweep."""

import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..durations import spell_seconds
from ..quantities import find_quantity
from ..runs import RunDirectory, label
from ..verdict import outcome
from .sweep import Record

SHOWN = ("train_accuracy", "test_accuracy", "displacement", "ntk_drift", "activation_stability", "linearization_error")
NUMBERS = 8  # of an experiment that measures other things, the first ones
ELSEWHERE = ("alpha", "epochs", "seconds")


def result_line(record: Record) -> str:
    """What came of a run, in one line."""
    summary = record.summary or {}
    spent = "" if record.was_done or summary.get("seconds") is None else f" in {spell_seconds(summary['seconds'])}"
    numbers = [f"{find_quantity(name).short} {100 * summary[name]:.1f}%" for name in SHOWN[:2] if _has(summary, name)]
    if not numbers:
        numbers = [f"{name} {value:.4g}" for name, value in _others(summary)][:NUMBERS]
    claims = [f"{outcome(claim)}: {claim['text']}" for claim in summary.get("claims") or []]
    words = [_status(record) + spent, ", ".join(numbers), _verdict(summary), *claims]
    return f"{'; '.join(word for word in words if word)}: {record.directory}"


def member_line(record: Record) -> str:
    """What came of a member of a sweep, in a shorter line: the closing table has the numbers."""
    summary = record.summary or {}
    accuracies = [f"{name.partition('_')[0]} {100 * summary[name]:.1f}%" for name in SHOWN[:2] if _has(summary, name)]
    claims = Counter(outcome(claim) for claim in summary.get("claims") or [])
    grade, _, reasons = _verdict(summary).partition(":")
    words = [*accuracies, grade if reasons else "", *(f"{count} {what}" for what, count in claims.items())]
    said = ", ".join(word for word in words if word)
    return f"{record.overrides} {_status(record)}".lstrip() + (f": {said}" if said else "")


def _status(record: Record) -> str:
    status = (record.summary or {})["status"]
    return f"is done ({status})" if record.was_done else status


def _verdict(summary: Mapping) -> str:
    words = summary.get("verdict") or ""
    return "" if words == "not measured" else words


def closing_table(records: Sequence[Record], width: int | None = None) -> str:
    """The members of a sweep, a line each: what tells them apart, and what was measured.

    Columns that do not fit into ``width`` follow in a table below.
    """
    summaries = [record.summary or {"status": "failed"} for record in records]
    names = [name for name in SHOWN if any(_has(summary, name) for summary in summaries)]
    others = [] if names else list(dict.fromkeys(name for summary in summaries for name, _ in _others(summary)))
    rows = [["run", "status", *names, *others[:NUMBERS], "seconds"]]
    for summary, told_apart in zip(summaries, _labels(records), strict=True):
        numbers = dict(_others(summary))
        cells = [find_quantity(name).spell(summary.get(name)) for name in names]
        cells += [_spell(numbers.get(name)) for name in others[:NUMBERS]]
        rows.append([told_apart, summary["status"], *cells, _spell(summary.get("seconds"))])
    return "\n\n".join(_fitting([*zip(*rows, strict=True)], width or sys.maxsize))


def _fitting(columns: list[tuple[str, ...]], width: int) -> Iterator[str]:
    """The columns side by side in as many tables as it takes, each with the first column."""
    first, *rest = [[cell.ljust(max(map(len, column))) for cell in column] for column in columns]
    while rest:
        shown = [first, rest.pop(0)]
        while rest and len("  ".join(column[0] for column in [*shown, rest[0]])) <= width:
            shown.append(rest.pop(0))
        yield "\n".join("  ".join(row).rstrip() for row in zip(*shown, strict=True))


def _labels(records: Sequence[Record]) -> list[str]:
    """What tells the members apart; of failed ones, their overrides."""
    configs = [RunDirectory(record.directory).config for record in records if record.directory]
    names = dict.fromkeys(name for config in configs for name in config["changed"])
    values = [{name: _field(config, name) for name in names} for config in configs]
    varying = [name for name in names if any(own[name] != values[0][name] for own in values)]
    labels = iter([label({name: own[name] for name in varying if own[name] is not None}) for own in values])
    return [(next(labels) if record.directory else "") or record.overrides or "–" for record in records]


def _field(config: Mapping, name: str) -> Any:
    """The value of a dotted field, be it the default; None where there is none."""
    value: Any = config
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return config["changed"].get(name) if value is None else value


def _others(summary: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a summary, groups opened."""
    for name, value in summary.items():
        if isinstance(value, Mapping):
            yield from _others(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and name not in ELSEWHERE:
            yield prefix + name, value


def _has(summary: Mapping, name: str) -> bool:
    return summary.get(name) is not None


def _spell(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.4g}"
