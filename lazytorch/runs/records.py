"""Strict JSON records: a row a line in metrics.jsonl, one object in summary.json and in report.json."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .checks import ROW, Check, check, damaged
from .reading import MIB, check_plain, decode, read_bytes
from .writing import append_line, write_atomically

OBJECT_LIMIT = 4 * MIB
ROWS_LIMIT = 256 * MIB


def to_json(record: dict, indent: int | None = None) -> str:
    """`record` as strict JSON: non-finite numbers are null, except an infinite alpha, of it or of its rows: "inf"."""
    return json.dumps(_strict(record), indent=indent, allow_nan=False)


def read_object(path: Path, checks: Mapping[str, Check], needed: tuple[str, ...] = ()) -> dict | None:
    """The object in a file; None if there is no such file.

    Raises:
        ValueError: the file is damaged; one line that names it, the reason and the remedy.
    """
    content = read_bytes(path, OBJECT_LIMIT)
    if content is None:
        return None
    try:
        record = _parse(content)
        check(record, checks, needed)
    except ValueError as error:
        raise damaged(path, error, "remove it and start the run again, which goes on where it was") from None
    return record


def write_object(path: Path, record: dict, checks: Mapping[str, Check], needed: tuple[str, ...] = ()) -> None:
    """Replace the file, whole or not at all.

    Raises:
        ValueError: it is no record that `read_object` would take.
    """
    check(record, checks, needed)
    content = to_json(record, indent=2).encode() + b"\n"
    if len(content) > OBJECT_LIMIT:
        raise ValueError(f"{path} would be larger than {OBJECT_LIMIT // MIB} MiB; write tables instead")
    write_atomically(path, lambda file: file.write(content))


def read_rows(path: Path) -> list[dict]:
    """The whole rows of a file of one JSON object a line; a last line that a kill left torn is not one of them.

    Raises:
        ValueError: a line is damaged; one line that names it, the reason and the remedy.
    """
    *lines, _torn = (read_bytes(path, ROWS_LIMIT) or b"").split(b"\n")
    return [_read_row(path, number, line) for number, line in enumerate(lines, start=1)]


def append_row(path: Path, row: dict) -> None:
    """Append one row and bring it to the disk, after cutting off what a kill left of a former one."""
    append_line(path, _row_line(row))


def write_rows(path: Path, rows: Iterable[dict]) -> None:
    """Replace all rows of the file, whole or not at all."""
    content = b"".join(map(_row_line, rows))
    write_atomically(path, lambda file: file.write(content))


def _row_line(row: dict) -> bytes:
    check(row, ROW, needed=("epoch",))
    return to_json(row).encode() + b"\n"


def _read_row(path: Path, number: int, line: bytes) -> dict:
    try:
        row = _parse(line)
        check(row, ROW, needed=("epoch",))
    except ValueError as error:
        raise damaged(path, f"in line {number} {error}", "remove that line") from None
    return row


def _parse(content: bytes) -> Any:
    text = decode(content)
    if not text.strip():
        raise ValueError("it is empty")
    try:
        record = json.loads(text)
        check_plain(record, strict=True)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    return record


def _strict(value: object, row: bool = True) -> object:
    if isinstance(value, dict):
        infinite = value.get("alpha") if row else None
        strict = {str(key): _strict(item, row=False) for key, item in value.items()}
        return strict | {"alpha": "inf"} if isinstance(infinite, float) and infinite == math.inf else strict
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
