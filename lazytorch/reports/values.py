"""Values as run directories hold them: what is a number, when two are the same, and how they are spelt for people."""

import math
from collections.abc import Mapping

INFINITIES = {"inf": math.inf, ".inf": math.inf, "+.inf": math.inf, "-inf": -math.inf, "-.inf": -math.inf}


def number(value: object) -> float | None:
    """``value`` as a float, None if it is no number; the strings "inf" and "-inf" are numbers, booleans are not."""
    if isinstance(value, str):
        return INFINITIES.get(value.strip().lower())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        value = float(value)
    except OverflowError:
        return None
    return None if math.isnan(value) else value


def same(one: object, other: object) -> bool:
    """Whether two values mean the same: numbers as floats, to rounding; others as they are."""
    a, b = number(one), number(other)
    if a is None or b is None:
        return one == other and isinstance(one, bool) == isinstance(other, bool)
    return a == b or math.isclose(a, b, rel_tol=1e-12)


def key_of(value: object) -> object:
    """What ``value`` is grouped by: the same for the same values, and hashable."""
    found = number(value)
    if found is not None:
        return found
    if isinstance(value, list | tuple):
        return tuple(map(key_of, value))
    if isinstance(value, Mapping):
        return tuple((str(key), key_of(item)) for key, item in sorted(value.items()))
    return value if isinstance(value, str | bool) else None


def order_of(value: object) -> tuple:
    """What values are sorted by: nothing, numbers by size, then words."""
    found = number(value)
    if found is not None:
        return 1, found, ""
    return (0, 0.0, "") if value is None else (2, 0.0, str(value))


def spell(value: object, digits: int = 6) -> str:
    """``value`` in few characters: 1, 0.5, 1e7, ∞, true."""
    found = number(value)
    if found is not None:
        return spell_number(found, digits)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(spell(item, digits) for item in value)
    return " ".join(str(value).split())


def spell_number(value: float, digits: int = 6) -> str:
    """``value`` to so many digits: 0.5, 250, 1e7, ∞."""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or 1e-2 <= abs(value) < 1e3 or (value == int(value) and abs(value) < 1e5 and value % 1000):
        return f"{value:.{max(digits, 5)}g}"
    mantissa, exponent = f"{value:.{digits}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def flatten(values: Mapping, prefix: str = "") -> dict:
    """Nested mappings as one, keyed by dotted names; empty ones are left out."""
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def last_part(key: str) -> str:
    """``lr`` of ``optimizer.lr``; of ``model._target_``, which names a model, ``model``."""
    return key.removesuffix("._target_").rpartition(".")[2]
