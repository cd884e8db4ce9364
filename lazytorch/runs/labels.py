"""A run's label: what a person reads in `ls` and in TensorBoard; the hash beside it is what tells runs apart."""

import math
import re
from collections import Counter

FIRST = ("alpha", "seed")
GROUPS = {"data.name": "data"}  # what is known by its group, as a target is
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


def label(changed: dict, length: int = 120) -> str:
    """`changed` (dotted names of fields to values) in at most `length` characters: "alpha=1e7,seed=0,width=0.25".

    alpha and seed come first. A name is shortened to its last component where no other has the same, a target to its
    group. What does not fit is
    left out. All characters are safe in the names of files on Linux, macOS and Windows.
    """
    keys = [key for key in FIRST if key in changed] + [key for key in changed if key not in FIRST]
    shared = Counter(map(_short, keys))
    text = ""
    for key in keys:
        name = _field(key) if shared[_short(key)] > 1 else _short(key)
        longer = f"{text},{_safe(name)}={_safe(spell(changed[key]))}".lstrip(",")
        text = longer if len(longer) <= length else text
    return text.lstrip(".-")  # a hidden folder is not found


def _field(key: object) -> str:
    return GROUPS.get(str(key)) or str(key).removesuffix("._target_")


def _short(key: object) -> str:
    return _field(key).rsplit(".", 1)[-1]


def _safe(text: str) -> str:
    return UNSAFE.sub("-", text)


def spell(value: object) -> str:
    """A setting's value in few characters: true, 1e7, of a dotted path its last part."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return spell_float(value)
    if isinstance(value, dict):
        return spell(value.get("_target_") or list(value.values()))
    if isinstance(value, list | tuple):
        return "+".join(map(spell, value))
    text = str(value)
    return text.rsplit(".", 1)[-1] if DOTTED.fullmatch(text) else text


def spell_float(value: float) -> str:
    """The shorter of the plain and the scientific spelling of six digits: 0.25, 100, 1e7."""
    if not math.isfinite(value):
        return str(value)
    mantissa, exponent = f"{value:.5e}".split("e")
    scientific = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    plain = f"{value:g}"
    return scientific if len(scientific) < len(plain) else plain
