"""Results in the terminal: a line for each run, and the table that closes a sweep."""

import math
from collections.abc import Sequence

from .outcomes import Record, spell_seconds
from .quantities import find_quantity
from .runs import RunDirectory, label

SHOWN = ("train_accuracy", "test_accuracy", "displacement", "ntk_drift", "activation_stability", "linearization_error")


def result_line(directory: RunDirectory, summary: dict, where: str = "") -> str:
    """What came of a run, in one line."""
    spent = f" in {spell_seconds(summary['seconds'])}" if summary.get("seconds") is not None else ""
    numbers = [
        f"{find_quantity(key).short} {_percent(summary[key])}" for key in SHOWN[:2] if summary.get(key) is not None
    ]
    if not numbers:
        numbers = [f"{key} {_number(value)}" for key, value in summary.items() if _is_number(key, value)][:4]
    claims = [
        f"{'held' if c['held'] else 'not held' if c['held'] is False else 'open'}: {c['text']}"
        for c in summary.get("claims") or []
    ]
    words = [f"{summary['status']}{spent}", ", ".join(numbers), summary.get("verdict") or "", *claims]
    line = "; ".join(word for word in words if word)
    return (f"[{where}] " if where else "") + f"{line}: {directory.path}"


def closing_table(records: Sequence[Record]) -> str:
    """The members of a sweep, a line each, with the quantities that were measured."""
    keys = [key for key in SHOWN if any((record.summary or {}).get(key) is not None for record in records)]
    head = ["run", "status", *(find_quantity(key).name for key in keys), "seconds"]
    rows = []
    for record, name in zip(records, _names(records), strict=True):
        summary = record.summary or {}
        cells = [find_quantity(key).spell(summary.get(key)) for key in keys]
        rows.append([name, summary.get("status", "?"), *cells, _number(summary.get("seconds"))])
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [head, *rows]
    )


def _names(records: Sequence[Record]) -> list[str]:
    """What tells the members apart."""
    changed = [RunDirectory(record.directory or "").config["changed"] for record in records]
    keys = dict.fromkeys(key for own in changed for key in own)
    varying = [key for key in keys if any(own.get(key) != changed[0].get(key) for own in changed)]
    return [label({key: own[key] for key in varying if key in own}) or "–" for own in changed]


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"


def _number(value) -> str:
    return "–" if value is None or (isinstance(value, float) and math.isnan(value)) else f"{value:.4g}"


def _is_number(key: str, value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and key != "seconds"
