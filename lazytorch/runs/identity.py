"""The same experiment with the same changed fields is the same run: its identity is a hash of both."""

import hashlib
import json
import math


def identity(experiment: str, changed: dict) -> str:
    """The run's hash: the first 12 hexadecimal digits of the sha256 of the `canonical` experiment and changed fields.

    `changed` maps dotted names of fields to values; the order of its keys does not matter.
    """
    text = canonical({"experiment": experiment, "changed": changed})
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def canonical(value: object) -> str:
    """JSON of a nested plain value in one spelling: sorted keys, numbers as floats, infinity as "inf".

    Raises:
        ValueError: a value is nan, which equals nothing, itself included; two keys have one spelling.
        TypeError: a value is neither a number, a string, a boolean, null, a list nor a mapping.
    """
    return json.dumps(_canonical(value, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_alpha(value: float | str) -> float:
    """alpha as a float, from a number or from its spelling in YAML or JSON ("1e7", "inf", ".inf")."""
    try:
        return float(value.strip().lower().replace(".inf", "inf") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"alpha is {value!r}; give a number in (0, inf], such as 1, 1e7 or inf") from None


def _canonical(value: object, key: str) -> object:
    if isinstance(value, dict):
        mapping = {str(name): _canonical(item, f"{key}.{name}".lstrip(".")) for name, item in value.items()}
        if len(mapping) < len(value):
            raise ValueError(f"two keys of {key or 'the value'} have one spelling; rename one")
        return mapping
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(value, key or "the value")
    raise TypeError(
        f"{key or 'the value'} is a {type(value).__name__}; use numbers, strings, booleans, null, lists and mappings"
    )


def _number(value: int | float, key: str) -> float | int | str:
    if isinstance(value, int):
        exact = value.bit_length() < 1024 and float(value) == value
        return float(value) if exact else value  # beyond 2^53 a float would merge neighbouring seeds
    if math.isnan(value):
        raise ValueError(f"{key} is nan, which identifies no run; give a number")
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value) + 0.0  # + 0.0 makes -0.0 zero
