"""What a trace of a module is good for: the signature of a call, by which traces are kept."""

from collections.abc import Hashable

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn


def signature_of(module: nn.Module, tensors: dict[str, Tensor], args: tuple, kwargs: dict) -> Hashable:
    """Of a call of ``module`` with its ``tensors``: structure, shapes, types and devices, modes and autocast.

    Raises:
        TypeError: an argument is neither a tensor nor hashable.
    """
    leaves, spec = pytree.tree_flatten((args, kwargs))
    device = next(iter(tensors.values())).device.type
    autocast = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device)
    modes = tuple(m.training for m in module.modules())
    return spec, tuple(_of_leaf(leaf) for leaf in (*leaves, *tensors.values())), modes, autocast


def _of_leaf(leaf) -> Hashable:
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape), leaf.stride(), leaf.dtype, leaf.device
    if not isinstance(leaf, Hashable):
        raise TypeError(f"an argument is a {type(leaf).__name__}: a model takes tensors, and what can be hashed")
    return type(leaf), leaf


class Latest(dict):
    """Keeps the latest entries; a copy of the model starts without."""

    LIMIT = 64

    def __setitem__(self, key, value):
        if len(self) >= self.LIMIT:
            del self[next(iter(self))]
        super().__setitem__(key, value)

    def __deepcopy__(self, memo):
        return Latest()

    def __reduce__(self):
        return Latest, ()
