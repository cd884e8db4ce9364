"""What is read may be damaged or hostile: regular files only, of bounded size and depth, of plain values."""

import math
import reprlib
import stat
from pathlib import Path

MIB = 2**20
DEPTH = 64


def read_bytes(path: Path, limit: int) -> bytes | None:
    """The content of a regular file of at most `limit` bytes; None if there is no such file.

    Raises:
        ValueError: a folder, a pipe or a device; too large; not readable.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
            raise ValueError(f"{path} is not a regular file; remove it")
        with open(path, "rb") as file:
            content = file.read(limit + 1) if status.st_size <= limit else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); make it readable, or remove it") from None
    if status.st_size > limit or len(content) > limit:
        raise ValueError(f"{path} is larger than {limit // MIB} MiB, which no run writes; remove it")
    return content


def decode(content: bytes) -> str:
    """The text of a record.

    Raises:
        ValueError: it is not UTF-8, or holds a NUL byte, as a file does that a crash left unwritten.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    if "\0" in text:
        raise ValueError("it holds a NUL byte")
    return text


def check_plain(value: object, strict: bool = False, depth: int = 0) -> None:
    """Refuse all but nested mappings, lists, strings, booleans, null and numbers that a float can hold.

    Raises:
        ValueError: says which; with `strict`, also a number that is not finite.
    """
    if depth > DEPTH:
        raise ValueError(f"it is nested more than {DEPTH} deep")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int):
                raise ValueError(f"the key {shown(key)} is not a string")
            check_plain(key, strict, depth + 1)
            check_plain(item, strict, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            check_plain(item, strict, depth + 1)
    elif isinstance(value, str):
        if not _encodes(value):
            raise ValueError(f"{shown(value)} holds half a character")
    elif isinstance(value, int):
        if value.bit_length() > 1023:
            raise ValueError("a number has more than 300 digits")
    elif isinstance(value, float):
        if strict and not math.isfinite(value):
            raise ValueError(f"{value} is not JSON")
    elif value is not None:
        raise ValueError(f"{shown(value)} is a {type(value).__name__}, not a plain value")


def shown(value: object) -> str:
    """`value` in one short line, whatever it is."""
    return reprlib.repr(value)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
