"""The running statistics of batch norms: their differences, which training updates, of all layers together."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from torch import Tensor

from .together import each


class Batch(NamedTuple):
    """What a layer has found of a batch of n values a channel; see :mod:`.standardisation` for the names.

    ``total`` is the sum of d, ``along`` that of d z*, where z* is x* standardised by its own r.
    """

    n: int
    r0: Tensor
    total: Tensor
    along: Tensor
    r: Tensor
    r1: Tensor


class _Update(NamedTuple):
    mean: Tensor
    variance: Tensor
    momentum: float
    batch: Batch


_pending: ContextVar[list[_Update] | None] = ContextVar("_pending", default=None)


def moments(batches: list[Batch], factors: list[float]) -> tuple[list[Tensor], list[Tensor]]:
    """The differences of mean and unbiased variance of each batch, times its factor."""
    counts, r0, totals, along, r, r1 = (list(column) for column in zip(*batches, strict=True))
    sizes = list(zip(counts, factors, strict=True))
    means = each("mul", totals, [factor / n for n, factor in sizes])
    variances = each("div", each("mul", along, r), each("mul", r0, r1))
    return means, each("mul", variances, [2 * factor / max(n - 1, 1) for n, factor in sizes])


def update(mean: Tensor, variance: Tensor, momentum: float, batch: Batch) -> None:
    """Have the running statistics' differences follow those of the batch: at once, or with :func:`take_updates`."""
    if (pending := _pending.get()) is None:
        update_at_once(mean, variance, momentum, batch)
    else:
        pending.append(_Update(mean, variance, momentum, batch))


def update_at_once(mean: Tensor, variance: Tensor, momentum: float, batch: Batch) -> None:
    """As :func:`update`, which is not put off."""
    _take([_Update(mean, variance, momentum, batch)])


@contextmanager
def updating_together() -> Iterator[None]:
    """Within the context, updates are put off until :func:`take_updates` or its end."""
    token = _pending.set([])
    try:
        yield
        take_updates()
    finally:
        _pending.reset(token)


def take_updates() -> None:
    """Do what has been put off."""
    if pending := _pending.get():
        _take(pending)
        pending.clear()


def _take(updates: list[_Update]) -> None:
    running, momenta = [*(u.mean for u in updates), *(u.variance for u in updates)], [u.momentum for u in updates]
    means, variances = moments([u.batch for u in updates], momenta)
    each("mul_", running, [1 - momentum for momentum in momenta] * 2)
    each("add_", running, [*means, *variances])
