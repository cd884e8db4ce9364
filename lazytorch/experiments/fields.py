"""The fields of an experiment, which are its configuration: their defaults, what they mean, and their ranges."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, is_dataclass
from typing import Any


def key(
    default: Any = MISSING,
    meaning: str = "",
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    one_of: tuple | None = None,
    result: bool = True,
    factory: Callable[[], Any] | None = None,
) -> Any:
    """A field with its default, what it means, and the range of its value, or of each of its values.

    ``factory`` makes the default where it is a mapping or a group of fields. ``result``: whether the field changes the
    result, and so counts in the run's identity.
    """
    metadata = {"meaning": meaning, "at_least": at_least, "above": above, "below": below, "one_of": one_of}
    metadata["result"] = result
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def flat(values: Any, prefix: str = "") -> Iterator[tuple[str, Any, dataclasses.Field]]:
    """(dotted name, value, field) of every field of the dataclass ``values``, groups opened."""
    for field in dataclasses.fields(values):
        name, value = prefix + field.name, getattr(values, field.name)
        if is_dataclass(value):
            yield from flat(value, f"{name}.")
        else:
            yield name, value, field


def check_ranges(values: Any, prefix: str = "") -> None:
    """Raise ValueError for the first field of the dataclass ``values`` that is out of its range, naming the remedy."""
    for name, value, field in flat(values, prefix):
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None:
                _check(name, item, field.metadata)


def _check(name: str, value: Any, metadata: Mapping) -> None:
    allowed = metadata.get("one_of")
    if allowed is not None and value not in allowed:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(map(str, allowed))}")
    if not isinstance(value, (int, float)) or isinstance(value, bool) or "at_least" not in metadata:
        return
    at_least, above, below = metadata["at_least"], metadata["above"], metadata["below"]
    if math.isnan(value) or value < at_least or (value <= above > -math.inf) or (value >= below < math.inf):
        bounds = [f"at least {at_least:g}"] if at_least > -math.inf else []
        bounds += [f"above {above:g}"] if above > -math.inf else []
        bounds += [f"below {below:g}"] if below < math.inf else []
        raise ValueError(f"{name} must be {' and '.join(bounds) or 'a number'}, got {value}: give such a number")


def nested(values: Any) -> dict:
    """The dataclass ``values`` as nested mappings of plain values."""
    return {field.name: plain(getattr(values, field.name)) for field in dataclasses.fields(values)}


def plain(value: Any) -> Any:
    """Dataclasses as mappings, tuples as lists, recursively."""
    if is_dataclass(value):
        return nested(value)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
