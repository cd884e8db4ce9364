"""An item of a report as plain data: mappings, lists, strings and numbers that strict JSON can hold, and back again."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

KINDS: dict[str, type["Item"]] = {}
PARTS = ("panels", "rows", "items")  # fields that hold primitives themselves


def mapping():
    """A field for a mapping, empty by default, which does not count for the hash."""
    return field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Item:
    """A primitive: a frozen dataclass, whose subclasses are known by their names."""

    def __init_subclass__(cls):
        KINDS[cls.__name__] = cls

    def to_dict(self) -> dict:
        """The primitive as plain data, infinity as "inf"; ``from_dict`` makes it again."""
        shown = (one for one in fields(self) if one.metadata.get("plain", True))
        return {"kind": type(self).__name__} | {one.name: _plain(getattr(self, one.name)) for one in shown}

    @classmethod
    def from_dict(cls, document: object) -> "Item":
        """The primitive that ``to_dict`` described.

        Raises:
            ValueError: it describes none of this kind.
        """
        item = read_item(document)
        if not isinstance(item, cls):
            raise ValueError(f"a {cls.__name__} is expected, not a {type(item).__name__}")
        return item

    @classmethod
    def _from_values(cls, values: dict) -> "Item":
        return cls(**values)


def read_item(document: object) -> Item:
    """The primitive that ``to_dict`` described.

    Raises:
        ValueError: it describes none.
    """
    kind = document.get("kind") if isinstance(document, Mapping) else document
    if not isinstance(document, Mapping) or not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"a report has no item of kind {short(kind)}; the kinds are {', '.join(KINDS)}")
    cls = KINDS[kind]
    known = {one.name for one in fields(cls)}
    if unknown := [key for key in document if key != "kind" and key not in known]:
        raise ValueError(f"{cls.__name__} has no field {short(unknown[0])}; its fields are {', '.join(sorted(known))}")
    try:
        values = {k: tuple(map(read_item, v)) if k in PARTS else v for k, v in document.items() if k != "kind"}
        return cls._from_values(values)
    except TypeError as error:
        raise ValueError(f"{cls.__name__} in a report: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, Item):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return value


def check_text(item: Item, *names: str) -> None:
    """Raise TypeError for the first of these fields that is no string."""
    for name in names:
        if not isinstance(getattr(item, name), str):
            raise TypeError(f"{type(item).__name__}({name}={short(getattr(item, name))}): give a string")


def set_names(item: Item, name: str) -> None:
    """Make the field a tuple of names."""
    value = getattr(item, name)
    names = () if value is None else (value,) if isinstance(value, str) else value
    if not isinstance(names, tuple | list) or not all(isinstance(one, str) for one in names):
        raise TypeError(f"{type(item).__name__}({name}={short(value)}): give the name of a column, or several")
    object.__setattr__(item, name, tuple(names))


def check_where(item: Item, name: str = "where") -> None:
    """Raise TypeError unless the field maps names to numbers, strings or None."""
    value = getattr(item, name)
    if not isinstance(value, Mapping):
        raise TypeError(f"{type(item).__name__}({name}={short(value)}): give a mapping of columns to values")
    for key, one in value.items():
        if not isinstance(one, str | int | float | None) or (isinstance(one, float) and math.isnan(one)):
            raise TypeError(f"{type(item).__name__}({name}) has {key}={short(one)}: give a number, a string or None")


def check_items(item: Item, items: tuple, kinds) -> None:
    """Raise TypeError for the first of ``items`` that is of none of these kinds."""
    for one in items:
        if not isinstance(one, kinds):
            raise TypeError(f"{type(item).__name__} cannot hold {short(one)}")


def short(value: object) -> str:
    """``value`` as an error shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
