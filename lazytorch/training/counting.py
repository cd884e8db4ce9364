"""Operations and memory of a computation, counted on tensors that have shapes and no values."""

import random
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy
import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import get_proxy_mode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten


@dataclass(frozen=True)
class Cost:
    """``flops``: two a multiplication with addition, of products alone. ``memory``: bytes of tensors at the peak."""

    flops: int
    memory: int


class Counter(TorchDispatchMode):
    """Counts the operations, and the bytes of the tensors that are alive, of what is done inside.

    Cost: a fraction of a millisecond an operator, and no memory, whatever the shapes; nothing is computed.
    """

    def __init__(self):
        super().__init__()
        self.flops = self.live = self.peak = 0
        self._held: set[int] = set()

    def cost(self, work: Callable[[], object]) -> Cost:
        """Of ``work()``: its operations, and its peak with what was alive before."""
        self.flops, self.peak = 0, self.live
        work()
        return Cost(self.flops, self.peak)

    def hold(self, tensor: Tensor) -> None:
        """Count a tensor from here on, until its storage is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._held:
            self._held.add(key)
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._held.remove(key)
        self.live -= size

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = operator(*args, **kwargs)
        if get_proxy_mode() is not None:  # a trace, which has no values on real tensors either
            return out
        for tensor in pytree.tree_leaves(out):
            if isinstance(tensor, FakeTensor) and tensor.device.type != "meta":
                self.hold(tensor)
        if formula := flop_registry.get(operator.overloadpacket):
            self.flops += formula(*args, **kwargs, out_val=out)
        self.peak = max(self.peak, self.live + _workspace(operator, args, out))
        return out


class _Ones(TorchDispatchMode):
    """Every number that is read is 1, and what is compared as a whole is equal: checks pass, and theta is not 0."""

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator is aten._local_scalar_dense.default and isinstance(args[0], FakeTensor):
            return _one(args[0])
        if operator is aten.equal.default and isinstance(args[0], FakeTensor):
            return True
        return operator(*args, **(kwargs or {}))


def _one(tensor: Tensor) -> bool | int | float:
    if tensor.dtype == torch.bool:
        return True
    return 1.0 if tensor.dtype.is_floating_point else 1


@contextmanager
def without_values() -> Iterator[Counter]:
    """Tensors made inside have no values, and are counted; all generators are as before afterwards."""
    states = random.getstate(), numpy.random.get_state()
    try:
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        with torch.random.fork_rng([]), fake, Counter() as counter, _Ones():
            yield counter
    finally:
        random.setstate(states[0])
        numpy.random.set_state(states[1])


def _workspace(operator, args, out) -> int:
    """Bytes that a convolution in float64 takes beside its result on a CPU, where it unfolds its whole batch."""
    if operator is aten.convolution.default:
        x, weight, positions = args[0], args[1], out[0, 0].numel()
    elif operator is aten.convolution_backward.default and args[-1][1]:
        x, weight, positions = args[1], args[2], args[0][0, 0].numel()
    else:
        return 0
    patch = weight[0, 0].numel()
    if x.dtype != torch.float64 or patch == 1:
        return 0
    return x.element_size() * x.shape[0] * x.shape[1] * patch * positions
