"""What a trace looks at while the module runs."""

import traceback
from contextlib import suppress

import torch
from torch.overrides import TorchFunctionMode

from . import packed
from .decisions import READS, Decisions, DependsOnWeights, where
from .labels import label
from .lists import size_of_list
from .refusals import REMEDY, TENSORS, UntraceableModule
from .sizes import OF_ANY_SIZE, Sizes
from .supposing import Suppositions

INDEX = torch.Tensor.__index__


class Watch(TorchFunctionMode):
    """Takes decisions, marks the nodes through which gradients are stopped, and refuses what a trace would lose."""

    def __init__(self, decisions: Decisions, sizes: Sizes, running: list[str], suppositions: Suppositions):
        super().__init__()
        self.decisions, self.sizes, self.running, self.suppositions = decisions, sizes, running, suppositions

    def __torch_function__(self, function, types, args: tuple = (), kwargs=None):
        if torch.compiler.is_dynamo_compiling():  # flex_attention or cond: torch 2.6 cannot follow what this does
            return function(*args, **(kwargs or {}))
        if function in READS:
            return self._decide(function, args, kwargs or {})
        if function in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            args = (args[0], self._with_decided_slices(args[1]), *args[2:])
        if function is torch.zeros:
            args = tuple(map(self._decided, args))
        if function is torch._C._set_grad_enabled:
            label("stopped", not torch.is_grad_enabled())
        if function is torch.Tensor.register_hook:
            raise UntraceableModule("the module hooks a tensor's gradient, which a trace does not do: remove the hook")
        if packed.packs(function, args):
            return packed.call(function, args[0], self._decide(torch.Tensor.tolist, args[1:2], {}), *args[2:])
        if function == torch.Tensor.data.__get__:  # pyright: ignore[reportAttributeAccessIssue]
            raise UntraceableModule(f"the module takes a tensor's .data, which a trace does not follow: {REMEDY}")
        if function in OF_ANY_SIZE and (self.sizes.any or (args and size_of_list(args[0]) is not None)):
            function = OF_ANY_SIZE[function]
        return self.suppositions.call(function, args, kwargs or {})

    def _decide(self, function, args, kwargs):
        if function is torch.Tensor.item and args[0].is_floating_point():
            return function(*args, **kwargs)  # a number that the trace computes
        if (answer := self.suppositions.answer(function, args)) is not None:
            return answer
        try:
            return self.decisions.take(function, args, kwargs)
        except DependsOnWeights as error:
            with suppress(Exception):
                return function(*args, **kwargs)
            module = self.running[-1] if self.running else ""
            raise UntraceableModule(
                f"module '{module or '(root)'}' takes a Python decision on values that depend on the weights or on "
                f"random numbers ({where(traceback.extract_stack())}): {TENSORS}"
            ) from error

    def _with_decided_slices(self, index):
        """An index, with the tensors that bound its slices as numbers."""
        if isinstance(index, tuple):
            return tuple(map(self._with_decided_slices, index))
        if not isinstance(index, slice):
            return index
        return slice(*map(self._decided, (index.start, index.stop, index.step)))

    def _decided(self, number):
        """A size, as a number."""
        return self._decide(INDEX, (number,), {}) if isinstance(number, torch.Tensor) else number
