"""Where a training is, in a few words."""

from collections.abc import Callable, Sequence

from ..runs import spell_float
from .member import Member


def describe(members: Sequence[Member]) -> str:
    """As "alpha=1e7 epoch 3, train 97.2%, test 91.5%"; of several members from the least to the greatest of each."""
    if not members:
        return "diverged"
    alphas = _span([float(member.model.alpha) for member in members], spell_float)
    words = [f"alpha={alphas} epoch {_span([member.state.epoch for member in members], str)}"]
    digits = 1 if len(members) == 1 else 0
    for name in ("train", "test"):
        measured = [(member.state.last or {}).get(f"{name}_accuracy") for member in members]
        if known := [100 * accuracy for accuracy in measured if accuracy is not None]:
            words.append(f"{name} {_span(known, f'{{:.{digits}f}}'.format)}%")
    return ", ".join(words)


def _span(values: Sequence, spell: Callable[..., str]) -> str:
    least, greatest = spell(min(values)), spell(max(values))
    return least if least == greatest else f"{least}–{greatest}"
