"""The traces of one module: which of them a call may use."""

import weakref
from collections.abc import Iterator

import torch.utils._pytree as pytree
from torch import Tensor, nn

from .differences import Program
from .signature import Latest, signature_of, state_of

DECISIONS = 16  # ways in which the module's Python code has decided, for which traces of one signature are kept


class Programs(weakref.WeakSet):
    """Some of the traces; a copy of a model starts without."""

    def __deepcopy__(self, memo):
        return Programs()

    def __reduce__(self):
        return Programs, ()


class Traces:
    """By the signature of the call, the module's plain attributes, and what its forward decides by inputs' values."""

    def __init__(self):
        self._kept = Latest()

    def find(self, module: nn.Module, tensors: dict[str, Tensor], args: tuple, kwargs: dict) -> Program:
        """The trace of ``module`` for this call; it is made if there is none.

        Raises:
            UntraceableModule: as :class:`Program` does.
        """
        key = signature_of(module, tensors, args, kwargs), state_of(module)
        inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        kept = self._kept.get(key, [])
        for program in kept:
            if program.suits(inputs):
                return program
        program = Program(module, tensors, args, kwargs)
        self._kept[key] = [*kept[1 - DECISIONS :], program]
        return program

    def __iter__(self) -> Iterator[Program]:
        for programs in self._kept.values():
            yield from programs

    def __deepcopy__(self, memo):
        return Traces()

    def __reduce__(self):
        return Traces, ()
