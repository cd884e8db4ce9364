"""The traces of one module: which of them a call may use."""

import warnings
import weakref
from collections.abc import Iterator

import torch.utils._pytree as pytree
from torch import Tensor, nn

from .differences import Program
from .functional import LOCK
from .signature import Latest, changing_numbers, signature_of, state_of
from .transforms import active, check_export, outside

NUMBERS = 8  # traces that differ in Python's numbers alone, at which the user is told
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
        self._kept, self._warned = Latest(), False

    def find(self, module: nn.Module, tensors: dict[str, Tensor], args: tuple, kwargs: dict) -> Program:
        """The trace of ``module`` for this call; it is made if there is none.

        Raises:
            UntraceableModule: as :class:`Program` does.
        """
        key = signature_of(module, tensors, args, kwargs), state_of(module)
        inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        program = self._suitable(key, inputs)
        if program is None:
            with LOCK:  # another thread may just have made it
                program = self._suitable(key, inputs) or self._made(key, module, tensors, args, kwargs)
            if active():
                program.suits(inputs)  # torch refuses to read a value in a batch
        return program

    def _suitable(self, key, inputs: list[Tensor]) -> Program | None:
        return next((program for program in self._kept.get(key, ()) if program.suits(inputs)), None)

    def _made(self, key, module, tensors, args, kwargs) -> Program:
        check_export()
        with outside(tensors, args, kwargs) as example:
            program = Program(module, *example)
        self._kept[key] = [*self._kept.get(key, [])[1 - DECISIONS :], program]
        self._warn(key, args, kwargs, type(module).__name__)
        return program

    def _warn(self, key, args, kwargs, module: str) -> None:
        count, names = changing_numbers(key, self._kept, args, kwargs)
        if count >= NUMBERS and not self._warned:
            self._warned = True
            warnings.warn(
                f"{module} has been traced for {count} values of {' and '.join(names)}, as a number of Python's is a "
                f"constant of the trace: pass a tensor, torch.tensor(value), which may change",
                stacklevel=2,
            )

    def __iter__(self) -> Iterator[Program]:
        for programs in list(self._kept.values()):
            yield from programs

    def __deepcopy__(self, memo):
        return Traces()

    def __reduce__(self):
        return Traces, ()
