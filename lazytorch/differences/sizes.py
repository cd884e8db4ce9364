"""Sizes of inputs that are free in a trace, which therefore serves many of them, as sequences of every length."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import torch
from torch import Tensor, nn
from torch._dynamo.source import ConstantSource
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext

Free = Sequence[frozenset[int]]


class Sizes:
    """Of the contiguous inputs of one trace: the dimensions in ``free``, a set for each input, are symbols in it."""

    def __init__(self, free: Free):
        self.free, self.any = free, any(free)
        self._traced: list[tuple[ShapeEnv, list[FakeTensor]]] = []  # each pass of the trace
        self._guards: list[tuple[ShapeEnv, str]] = []
        self._most: list[torch.Size] = []  # sizes beyond which the trace does not hold

    @contextmanager
    def symbolic(self, example: Sequence[Tensor]) -> Iterator[list[FakeTensor]]:
        """Within the context torch traces by symbols; yields stand-ins for the ``example``, which the inputs end."""
        environment = ShapeEnv()
        mode = FakeTensorMode(shape_env=environment, allow_non_fake_inputs=True, static_shapes=False)
        weights = len(example) - len(self.free)
        free = [frozenset()] * weights + [*self.free]
        with mode, _spelled_as_numbers(), _unlogged():
            stand_ins = [_stand_in(mode, f"t{i}", t, free[i]) for i, t in enumerate(example)]
            self._traced.append((environment, stand_ins[weights:]))
            yield stand_ins

    def forget(self) -> None:
        """A trace that has failed."""
        self._traced = []

    def bound(self, inputs: Sequence[Tensor]) -> None:
        """Let the trace hold up to the sizes of these, by which something has been tried."""
        self._most = [t.shape for t in inputs]

    def close(self) -> None:
        """Keep of the trace what :meth:`hold` needs."""
        for environment, inputs in self._traced:
            if guards := environment.produce_guards_expression(inputs, ignore_static=False):
                self._guards.append((environment, guards))
        self._traced = []

    def hold(self, shapes: Sequence[Sequence[int]]) -> bool:
        """Whether a trace made by symbols serves inputs of these shapes."""
        if not self._guards:
            return True
        if any(size > most for own in zip(shapes, self._most, strict=False) for size, most in zip(*own, strict=True)):
            return False
        like = [torch.empty(shape, device="meta") for shape in shapes]
        with suppress(ZeroDivisionError):  # a remainder by a size that is 0
            return all(environment.evaluate_guards_expression(guards, like) for environment, guards in self._guards)
        return False


#: What torch computes with in place of numbers.
NUMBERS = {torch.SymInt: int, torch.SymFloat: float, torch.SymBool: bool}


@contextmanager
def _spelled_as_numbers() -> Iterator[None]:
    """Within the context a size is spelled as the number that it is, for which alone the trace then holds.

    A module may look something up by it, where torch would give the name of a symbol.
    """
    spelled = {symbol: symbol.__repr__ for symbol in NUMBERS}
    for symbol, number in NUMBERS.items():
        symbol.__repr__ = lambda size, number=number: repr(number(size))
    try:
        yield
    finally:
        for symbol, by_torch in spelled.items():
            symbol.__repr__ = by_torch


@contextmanager
def _unlogged() -> Iterator[None]:
    """Within the context torch does not log what it cannot trace by symbols, as there is a trace for each size then."""
    logger = logging.getLogger(fake_tensor.__name__)
    logger.disabled, before = True, logger.disabled
    try:
        yield
    finally:
        logger.disabled = before


def _stand_in(mode: FakeTensorMode, name: str, tensor: Tensor, free: frozenset[int]) -> FakeTensor:
    sizes = [DimDynamic.DYNAMIC if dim in free else DimDynamic.STATIC for dim in range(tensor.dim())]
    context = StatelessSymbolicContext(dynamic_sizes=sizes, constraint_sizes=[None] * tensor.dim())
    return mode.from_tensor(tensor, source=ConstantSource(name), symbolic_context=context)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if bias is None or x.dim() < 3 or not x.is_contiguous():
        return nn.functional.linear(x, weight, bias)
    rows = torch.addmm(bias, x.reshape(-1, x.shape[-1]), weight.t())
    return rows.reshape(*x.shape[:-1], weight.shape[0])


def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or not 0 < p < 1 or inplace:
        return nn.functional.dropout(x, p, training, inplace)
    if x.is_cuda:
        return torch.native_dropout(x, p, True)[0]
    return x * torch.empty_like(x).bernoulli_(1 - p).div_(1 - p)


#: As torch's, whose own code asks for the sizes as numbers.
OF_ANY_SIZE = {nn.functional.linear: linear, nn.functional.dropout: dropout}
