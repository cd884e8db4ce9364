"""Tables: comma-separated values under one header line, numbers in full."""

import csv
import io
import math
import re
from pathlib import Path

from .checks import damaged
from .reading import MIB, decode, read_bytes, shown
from .writing import write_atomically

LIMIT = 256 * MIB
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)
BOOLEANS = {"True": True, "False": False}
QUOTE = '"'
QUOTED = re.compile(r'[,"\r\n]')

Value = float | int | bool | str | None


def read_table(path: Path) -> list[dict[str, Value]]:
    """The rows of a table, [] if there is no such file; numbers and booleans are such, an empty cell is None.

    Raises:
        ValueError: the file is damaged; one line that names it, the reason and the remedy.
    """
    content = read_bytes(path, LIMIT)
    if not content:
        return []
    try:
        rows = list(csv.reader(io.StringIO(decode(content), newline=""), strict=True))
        header, *body = rows
        _check_shape(header, body)
    except (ValueError, csv.Error) as error:
        raise damaged(path, error, "remove it and start the run again, which goes on where it was") from None
    return [dict(zip(header, map(_parse, row), strict=True)) for row in body]


def write_table(path: Path, rows: list[dict]) -> None:
    """Replace a table, whole or not at all; its columns are those of all rows, in the order of their first appearance.

    Floats are written by `repr`, None and what a row lacks as nothing. A string that spells a number or a boolean is
    read as one.

    Raises:
        TypeError: a value is neither a number, a string, a boolean nor None.
        ValueError: a string with a NUL byte, or rows without columns.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if rows and not columns:
        raise ValueError(f"the rows of {path} are empty; give each its columns")
    header = [_spell(column, "a column") for column in columns]
    body = [[_spell(row.get(column), column) for column in columns] for row in rows]
    content = "".join(map(_line, [header, *body] if columns else [])).encode()
    write_atomically(path, lambda file: file.write(content))


def _check_shape(header: list[str], body: list[list[str]]) -> None:
    if not header:
        raise ValueError("its header is empty")
    if len(set(header)) < len(header):
        raise ValueError("two columns have one name")
    for number, row in enumerate(body, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells, the header {len(header)}")


def _spell(value: object, column: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if not isinstance(value, str):
        raise TypeError(f"{column} is a {type(value).__name__}; use numbers, strings, booleans and None")
    if "\0" in value or len(value) > csv.field_size_limit():
        raise ValueError(f"{column} is {shown(value)}; a table holds no NUL byte and no such long string")
    return value


def _line(cells: list[str]) -> str:
    # The writer of the standard library leaves a carriage return bare, which its reader takes for the end of the row.
    quoted = [f'"{cell.replace(QUOTE, QUOTE * 2)}"' if QUOTED.search(cell) else cell for cell in cells]
    return (",".join(quoted) or '""') + "\n"


def as_read(value: object) -> Value:
    """``value`` as it comes back from a table."""
    return _parse(_spell(value, "the value"))


def _parse(text: str) -> Value:
    if text in BOOLEANS:
        return BOOLEANS[text]
    if not NUMBER.fullmatch(text):
        return text or None
    try:
        return int(text)
    except ValueError:
        number = float(text)
    # A string of digits such as 12e4567 is no number that was written here.
    return text if math.isinf(number) and "inf" not in text.lower() else number
