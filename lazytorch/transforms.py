"""The transforms of ``torch.func``, in which a model may be called: a trace is made outside of them."""

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch._C._functorch import get_unwrapped, maybe_get_bdim, maybe_get_level
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack


def active() -> bool:
    """Whether a transform runs."""
    return torch._C._are_functorch_transforms_active()


def exporting() -> bool:
    """Whether ``torch.export`` runs."""
    if hasattr(torch.compiler, "is_exporting"):
        return torch.compiler.is_exporting()
    return torch.compiler._is_compiling_flag  # torch 2.6


def check_export() -> None:
    """Raise RuntimeError in ``torch.export``, whose tensors have no values to be traced or checked with."""
    if exporting():
        raise RuntimeError("torch.export of a model that has not run on such inputs: call it on them, then export it")


@contextmanager
def outside(*values) -> Iterator[tuple]:
    """Within the context no transform runs; yields the ``values`` with plain tensors, of a batch the first example."""
    if active():
        values = pytree.tree_map_only(Tensor, _plain, values)
        with temporarily_clear_interpreter_stack():
            yield pytree.tree_map_only(Tensor, Tensor.detach, values)
    else:
        yield values


def _plain(tensor: Tensor) -> Tensor:
    while maybe_get_level(tensor) >= 0:
        batch = maybe_get_bdim(tensor)
        tensor = get_unwrapped(tensor)
        tensor = tensor if batch < 0 else tensor.select(batch, 0)
    return tensor


def in_batches_of(tensors: Iterable[Tensor], values):
    """The ``values``, whose tensors are expanded to the batches that ``tensors`` are in."""
    if not active():
        return values
    mark = functools.reduce(torch.logical_and, (t.new_ones((), dtype=torch.bool) for t in tensors))
    return pytree.tree_map_only(Tensor, lambda t: torch.where(mark, t, t), values)
