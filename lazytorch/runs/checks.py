"""What the records of a run must look like, so that whoever reads them need not ask."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .reading import shown

STATUS = ("finished", "diverged", "interrupted", "failed")


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_alpha(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_written_alpha(value: Any) -> bool:
    return value == "inf" or _is_alpha(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(key, str) for key in value)


def _is_mapping_of_strings(value: Any) -> bool:
    return _is_mapping(value) and all(item is None or isinstance(item, str) for item in value.values())


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_mapping, value))


def _are_claims(value: Any) -> bool:
    return _is_list_of_mappings(value) and all(
        isinstance(claim.get("text"), str) and (claim.get("held") is None or isinstance(claim["held"], bool))
        for claim in value
    )


Check = tuple[Callable[[Any], bool], str]
ALPHA: Check = (_is_alpha, "a number in (0, inf]")
WRITTEN_ALPHA: Check = (_is_written_alpha, 'a positive number or "inf"')
INTEGER: Check = (_is_integer, "an integer")
STRING: Check = (lambda value: isinstance(value, str), "a string")
MAPPING: Check = (_is_mapping, "a mapping")
MAPPING_OF_STRINGS: Check = (_is_mapping_of_strings, "a mapping of names to strings")

RUN = {"alpha": ALPHA, "seed": INTEGER}
CONFIG = RUN | {
    "_target_": STRING,
    "changed": MAPPING,
    "versions": MAPPING,
    "fingerprints": MAPPING_OF_STRINGS,
    "about": MAPPING,
}
ABOUT = {name: INTEGER for name in ("classes", "channels", "train_size", "test_size")} | {"model": STRING}
SUMMARY = {
    "alpha": WRITTEN_ALPHA,
    "seed": INTEGER,
    "status": (lambda value: value in STATUS, f"one of {', '.join(STATUS)}"),
    "error": STRING,
    "verdict": STRING,
    "epochs": INTEGER,
    "claims": (_are_claims, "a list of claims, each with its text and whether it held"),
    "not_measured": MAPPING,
}
ROW = {
    "alpha": WRITTEN_ALPHA,
    "epoch": (lambda value: _is_number(value) and math.isfinite(value), "a number"),
}
REPORT = {
    "name": STRING,
    "title": STRING,
    "text": STRING,
    "items": (_is_list_of_mappings, "a list of mappings"),
    "quantities": (lambda value: _is_mapping(value) and all(map(_is_mapping, value.values())), "a mapping of mappings"),
}


def check(record: Any, checks: Mapping[str, Check], needed: tuple[str, ...] = ()) -> None:
    """Refuse a record that is not a mapping, or has a value of another kind; a key that may be absent may be null.

    Raises:
        ValueError: says which, in words that follow the name of a file.
    """
    if not isinstance(record, dict):
        raise ValueError(f"it is a {type(record).__name__}, not a mapping")
    for key, (holds, words) in checks.items():
        value = record.get(key)
        if not holds(value) and (value is not None or key in needed):
            raise ValueError(f"{key} is {shown(value)}, not {words}")


def damaged(path: Path, reason: object, remedy: str) -> ValueError:
    """The one line about a record that cannot be used."""
    return ValueError(f"{path} cannot be used: {' '.join(str(reason).split())}; {remedy}")
