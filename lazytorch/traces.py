"""The traces of one module: which of them a call may use."""

import warnings
import weakref
from collections.abc import Iterator

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from .differences import Program, UnsupportedOperator, UntraceableModule
from .functional import LOCK
from .signature import Arguments, Latest, changing_numbers, shapes_of, signature_of, state_of, without_sizes
from .transforms import active, check_export, outside

NUMBERS = 8  # traces that differ in Python's numbers alone, at which the user is told
SIZES = 8  # traces that differ in the sizes of their inputs alone, after which one is made for all sizes
DECISIONS = 16  # ways in which the module's Python code has decided, for which traces of one signature are kept


class Programs(weakref.WeakSet):
    """Some of the traces; a copy of a model starts without."""

    def __deepcopy__(self, memo):
        return Programs()

    def __reduce__(self):
        return Programs, ()


class Traces:
    """By the signature of the call, the module's plain attributes, and what its forward decides by inputs' values.

    Calls whose inputs come in ever other sizes, as sequences do, get one trace for all sizes, where torch has it.
    """

    def __init__(self):
        self._kept, self._of_any_size, self._warned = Latest(), Latest(), False

    def find(
        self, module: nn.Module, tensors: dict[str, Tensor], arguments: Arguments, any_size: bool = True
    ) -> Program:
        """The trace of ``module`` for this call; it is made if there is none. One of ``any_size`` cannot be compiled.

        Raises:
            UntraceableModule: as :class:`Program` does.
        """
        key, inputs = (signature_of(module, tensors, arguments), state_of(module)), arguments.inputs
        program = self._suitable(key, inputs, any_size)
        if program is None:
            with LOCK:  # another thread may just have made it
                call = module, tensors, arguments.args, arguments.kwargs
                program = self._suitable(key, inputs, any_size) or self._made(key, any_size, *call)
            if active():
                program.suits(inputs)  # torch refuses to read a value in a batch
        return program

    def _suitable(self, key, inputs: list[Tensor], any_size: bool) -> Program | None:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._of_any_size.get(without_sizes(key), ()) if any_size else ()
        return next((program for program in kept if program.suits(inputs)), None)

    def _made(self, key, any_size: bool, module, tensors, args, kwargs) -> Program:
        check_export()
        with outside(tensors, args, kwargs) as example:
            program = self._made_of_any_size(key, module, *example) if any_size else None
            if program is not None:
                return program
            program = Program(module, *example)
        self._kept[key] = [*self._kept.get(key, [])[1 - DECISIONS :], program]
        self._warn(key, args, kwargs, type(module).__name__)
        return program

    def _made_of_any_size(self, key, module, tensors: dict, args: tuple, kwargs: dict) -> Program | None:
        """One that serves this call and most of those that differ from it in sizes alone, once they are many."""
        general = without_sizes(key)
        alike = [shapes_of(other) for other in self._kept if without_sizes(other) == general]
        if general in self._of_any_size or len(alike) < SIZES:
            return None
        self._of_any_size[general] = ()  # which is tried once
        shapes = shapes_of(key)
        free = [
            frozenset(dim for dim, sizes in enumerate(zip(*each, strict=True)) if len(set(sizes)) > 1)
            for each in zip(shapes, *alike, strict=True)
        ]
        try:
            program = Program(module, tensors, args, kwargs, free)
        except (UntraceableModule, UnsupportedOperator):
            return None
        if 2 * sum(map(program.serves, alike)) < len(alike):
            return None
        if not _same_at_start(program, Program(module, tensors, args, kwargs), tensors, args, kwargs):
            return None  # it has asked for the type of a size, say, which is a symbol's there
        self._of_any_size[general] = (program,)
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
        for programs in (*self._kept.values(), *self._of_any_size.values()):
            yield from programs

    def __deepcopy__(self, memo):
        return Traces()

    def __reduce__(self):
        return Traces, ()


@torch.no_grad()
def _same_at_start(left: Program, right: Program, tensors: dict[str, Tensor], args: tuple, kwargs: dict) -> bool:
    """Whether two traces return the same for the same random numbers, up to rounding; all that is given stays."""
    inputs = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    devices = {t.device for t in tensors.values() if t.is_cuda}
    outputs = []
    for program in (left, right):
        given, own_inputs = ([t.clone() for t in each] for each in (tensors.values(), inputs))
        with torch.random.fork_rng(devices):
            outputs.append(pytree.tree_leaves(program(0.0, given, own_inputs)))
    return len(outputs[0]) == len(outputs[1]) and all(map(_close, *outputs))


def _close(left, right) -> bool:
    if not isinstance(left, Tensor) or not isinstance(right, Tensor):
        return left is right or left == right
    try:
        torch.testing.assert_close(left, right, equal_nan=True)
    except AssertionError:
        return False
    return True
