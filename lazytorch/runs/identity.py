"""The same configuration is the same run: its identity is a hash of every key that changes the result."""

import hashlib
import json
import math

# What does not change the result: where it is kept and what it is called, what it is computed on, beside which other
# runs (`sweep`) and how it is shown, what is recorded beside it, and `epochs`, because the schedule lr / (1 + beta t)
# knows no end: a finished run can always go on.
EXCLUDED = frozenset(
    ("runs_dir", "name", "resume", "device", "display", "sweep", "data.root", "versions", "data_fingerprint", "epochs")
)


def identity(config: dict) -> str:
    """The run's name on disk: the first 12 hexadecimal digits of the sha256 of its `canonical` configuration."""
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:12]


def canonical(config: dict) -> str:
    """JSON of every key that changes the result, in one spelling: sorted keys, numbers as floats, infinity as "inf".

    Raises:
        ValueError: a value is nan, which equals nothing, itself included.
        TypeError: a value is neither a number, a string, a boolean, null, a list nor a mapping.
    """
    if "alpha" in config:
        config = config | {"alpha": read_alpha(config["alpha"])}
    return json.dumps(_canonical(config, ""), sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_alpha(value: float | str) -> float:
    """alpha as a float, from a number or from its spelling in YAML or JSON ("1e7", "inf", ".inf")."""
    try:
        return float(value.strip().lower().replace(".inf", "inf") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        raise ValueError(f"alpha is {value!r}; give a number in (0, inf], such as 1, 1e7 or inf") from None


def _canonical(value: object, key: str) -> object:
    if isinstance(value, dict):
        dotted = {str(name): f"{key}.{name}".lstrip(".") for name in value}
        return {str(k): _canonical(v, dotted[str(k)]) for k, v in value.items() if dotted[str(k)] not in EXCLUDED}
    if isinstance(value, list | tuple):
        return [_canonical(item, f"{key}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(value, key)
    raise TypeError(f"{key} is a {type(value).__name__}; use numbers, strings, booleans, null, lists and mappings")


def _number(value: int | float, key: str) -> float | int | str:
    if math.isnan(value):
        raise ValueError(f"{key} is nan, which identifies no run; give a number")
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, int) and float(value) != value:
        return value  # beyond 2^53 a float would merge neighbouring seeds
    return float(value) + 0.0  # + 0.0 makes -0.0 zero
