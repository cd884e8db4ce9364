"""Strict JSON records: a row a line in metrics.jsonl, one object in summary.json."""

import json
import math
import os
from pathlib import Path


def to_json(record: dict, indent: int | None = None) -> str:
    """`record` as strict JSON: non-finite numbers are null, except an infinite alpha, which is "inf"."""
    if record.get("alpha") == math.inf:
        record = record | {"alpha": "inf"}
    return json.dumps(_strict(record), indent=indent, allow_nan=False)


def read_rows(path: Path) -> list[dict]:
    """The whole rows of a file of one JSON object a line; a last line that a kill left torn is not one of them."""
    if not path.exists():
        return []
    *lines, _torn = path.read_bytes().split(b"\n")
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError:
        raise ValueError(f"{path} holds a line that is not JSON; remove that line") from None


def append_row(path: Path, record: dict) -> None:
    """Append one row and bring it to the disk, after cutting off what a kill left of a former one."""
    line = to_json(record).encode() + b"\n"
    with open(path, "a+b") as file:
        file.truncate(_whole_length(file))
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _whole_length(file) -> int:
    """The length of the file up to and including its last newline."""
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            return file.read().rfind(b"\n") + 1
    return end


def _strict(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
