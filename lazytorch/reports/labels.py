"""Names for series: by as few settings as tell them apart, short, and never two alike."""

import re
from collections import Counter
from collections.abc import Sequence

from .values import key_of, last_part, spell

OTHER = "other"  # the setting that tells apart runs of one configuration on other data; its value is its label


def labels(settings: Sequence[dict]) -> list[str]:
    """A name for each of ``settings``, which differ; "" if there is one only."""
    chosen = _choose(settings)
    names = _short_names(chosen)
    for digits in (6, 17):
        found = [_label(own, names, digits) for own in settings]
        if len(set(found)) == len(found):
            return found
    return [", ".join(f"{key}={own.get(key)}" for key in chosen) for own in settings]


def distinct(texts: Sequence[str], width: int = 44) -> dict[str, str]:
    """Each of ``texts`` with its middle left out if it is longer than ``width``, numbered where two would be alike."""
    texts = list(dict.fromkeys(texts))
    short = [shorten(text, width) for text in texts]
    counts, seen = Counter(short), Counter()
    found = {}
    for text, one in zip(texts, short, strict=True):
        seen[one] += 1
        found[text] = f"{one} (#{seen[one]})" if counts[one] > 1 else one
    return found


def shorten(text: str, width: int = 44) -> str:
    """``text`` with its middle left out if it is longer than ``width``."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def words(label: str) -> str:
    """A label without its mathematics."""
    return " ".join(re.sub(r"\$[^$]*\$", " ", label).split())


def spell_setting(key: str, value: object, digits: int = 6) -> str:
    """The value of a setting in few characters: of a class path its last part."""
    text = spell(value, digits)
    return text.rpartition(".")[2] if key.endswith("_target_") else text


def varying(settings: Sequence[dict]) -> list[str]:
    """The keys in which ``settings`` differ."""
    keys = dict.fromkeys(key for own in settings for key in own)
    return [key for key in keys if _count(settings, [key]) > 1]


def _choose(settings: Sequence[dict]) -> list[str]:
    """As few keys as tell ``settings`` apart, or nearly: the one that tells most apart first."""
    left, chosen = varying(settings), []
    while left:
        best = max(left, key=lambda key: _count(settings, [*chosen, key]))
        if _count(settings, [*chosen, best]) == _count(settings, chosen):
            break
        chosen.append(best)
        left.remove(best)
    for key in list(chosen):
        others = [one for one in chosen if one != key]
        if _count(settings, others) == _count(settings, chosen):
            chosen = others
    order = varying(settings)
    return sorted(chosen, key=lambda key: (key == OTHER, order.index(key)))


def _short_names(keys: list[str]) -> dict[str, str]:
    shared = Counter(map(last_part, keys))
    return {key: last_part(key) if shared[last_part(key)] == 1 else key for key in keys}


def _label(own: dict, names: dict[str, str], digits: int) -> str:
    parts = [
        spell(own.get(key)) if key == OTHER else f"{name}={spell_setting(key, own.get(key), digits)}"
        for key, name in names.items()
        if key != OTHER or own.get(key)
    ]
    return ", ".join(parts)


def _count(settings: Sequence[dict], keys: list[str]) -> int:
    """How many of ``settings`` the values of ``keys`` tell apart."""
    return len({tuple(key_of(own.get(key)) for key in keys) for own in settings})
