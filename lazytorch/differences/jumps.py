"""Jumps: what functions that are not continuous give for their difference, and those that no pair can hold."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from . import reading
from .pair import Discrete, Pair, UnsupportedOperator, is_continuous

#: The share of its digits that a value may lose in the difference to another.
LOSS = 1e-3


def jump(epsilon: float, out: Tensor, at_w: Tensor) -> Tensor:
    """What a discontinuous function gives for its difference: (at w - at w_0) / epsilon, 0 where epsilon = 0.

    Of a condition or index, its value at w. Equal infinities differ by 0.

    Raises:
        UnsupportedOperator: there are other elements at w than at w_0.
    """
    if not is_continuous(out):
        return at_w
    if epsilon == 0:
        return torch.zeros_like(out)
    if at_w.shape != out.shape:
        raise UnsupportedOperator(
            "how many elements are selected depends on theta: keep all of them, with torch.where for those that count"
        )
    return torch.where(at_w == out, 0, (at_w - out) / epsilon)


def chosen_jump(epsilon: float, out: Tensor, at_w: Tensor) -> Tensor:
    """The jump of what a condition or index chooses.

    A pair cannot hold a value that is huge at one end alone, as a masked score is (-inf or -1e9). On the CPU this
    raises UnsupportedOperator; on other devices, where asking would wait for them, such a jump is nan, and
    :func:`check_lost` raises it later.
    """
    result = jump(epsilon, out, at_w)
    if epsilon == 0 or not is_continuous(out):
        return result
    large, small = (function(out.abs(), at_w.abs()) for function in (torch.maximum, torch.minimum))
    lost = (out != at_w) & (large >= LOSS / torch.finfo(out.dtype).eps * (1 + small))
    if (collected := _collected.get()) is not None:
        collected.append(lost.any())
    elif reading.has_values(lost):
        note_lost(lost.any())
    return result.masked_fill(lost, torch.nan)


LOST = (
    "an element that a condition or index chooses is huge (-inf, say) at one of w_0 and w and moderate at the other, "
    "which no divided difference in this type can express: select what is kept (gather, topk) instead of masking what "
    'is not, or wrap with difference="direct" in float64'
)
#: Device -> whether a jump has been lost there since it was last asked, on the device itself.
_lost: dict[torch.device, Tensor] = {}


@contextmanager
def collecting_lost() -> Iterator[list[Tensor]]:
    """Within the context, whether a jump was lost goes into the list, as 0-dim tensors, to be noted later."""
    collected: list[Tensor] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


_collected: ContextVar[list[Tensor] | None] = ContextVar("_collected", default=None)


def is_compiling() -> bool:
    """Whether what runs here is being made into a graph, see :mod:`lazytorch.compiled`."""
    return _collected.get() is not None


def note_lost(lost: Tensor) -> None:
    """Raise UnsupportedOperator on the CPU if ``lost`` is true; elsewhere :func:`check_lost` does it later."""
    if reading.answers_at_once(lost.device):
        if lost:
            raise UnsupportedOperator(LOST)
        return
    if lost.device not in _lost:
        with torch.inference_mode(False):
            _lost[lost.device] = torch.zeros((), dtype=torch.bool, device=lost.device)
    _lost[lost.device].logical_or_(lost)


def check_lost(device: torch.device | str) -> None:
    """Raise what the CPU raises at once, if it has happened on the device since the last such call; waits for it.

    Raises:
        UnsupportedOperator: a jump between a huge and a moderate value was lost, and nan stands in its place.
    """
    device = torch.device(device)
    flags = [flag for place, flag in _lost.items() if place.type == device.type and device.index in (None, place.index)]
    if any([flag.item() for flag in flags]):
        for flag in flags:
            flag.zero_()
        raise UnsupportedOperator(LOST)


def continuous(argument, epsilon: float, dtype: torch.dtype) -> Any:
    """A condition or index that enters arithmetic, as a Pair of floating tensors; anything else as it is."""
    if not isinstance(argument, Discrete):
        return argument
    start, final = argument.primal.to(dtype), argument.final.to(dtype)
    return Pair(start, jump(epsilon, start, final))
