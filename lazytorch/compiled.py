"""The program of a module as one compiled graph, forward and backward.

To Dynamo, which cannot follow the rules, a run of it is one opaque call; AOTAutograd traces through that, so
every rule and its own backward pass go into the graph.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .differences import Pair, Program, UnsupportedOperator
from .differences.ends import LARGE
from .differences.function import Function, once_differentiable
from .differences.jumps import collecting_lost, note_lost
from .differences.pair import is_continuous, value, varies
from .selected import Selected
from .transforms import active

Backend = str | Callable

#: Up to this, and down to its inverse, alphas have one graph on each side of 1; beyond, epsilon theta may overflow.
RANGE = 1e8
#: The epsilon of the graph that serves alphas above 1, and of the one for those up to 1, which follows no rules.
REPRESENTATIVES = LARGE / 2, LARGE
#: Of inductor. The bits of a value that a rule subtracts from are those that it was computed with: no fused
#: multiply-add, no rounding left out. Random numbers are those of eager mode.
OPTIONS: dict[str, str | int | bool | Callable] = {"emulate_precision_casts": True, "fallback_random": True}


def options_for(program: Program) -> dict[str, str | int | bool | Callable]:
    """Of inductor, which puts channels last on a CPU, but where statistics (of batch norm) are updated.

    Those lose digits in that layout: outputs err by three times the rounding of eager mode there.
    """
    on_cpu = program.placeholders[0].meta["val"].device.type == "cpu"
    return OPTIONS | {"layout_optimization": not (on_cpu and program.written)}


def output_difference(leaf, epsilon: float):
    """What the model returns for a leaf of the module's output."""
    if isinstance(leaf, Pair):
        return leaf.difference
    if isinstance(leaf, Tensor) and is_continuous(leaf):
        return torch.zeros_like(leaf)
    return value(leaf, epsilon)


def applies() -> bool:
    """Whether this is a call that compiling is for: one that records a gradient.

    Not inside transforms of torch.func and dispatch modes, as of one that counts operations.
    """
    return torch.is_grad_enabled() and not active() and not is_in_torch_dispatch_mode()


def run_compiled(
    program: Program, backend: Backend, epsilon: float, initial: dict, differences: dict, inputs: list[Tensor]
):
    """The module's output as :func:`output_difference` has it; graphs are made where they are needed, and kept.

    ``initial``: name -> value at w_0 of every parameter and buffer; ``differences``: of those that have one.

    Raises:
        UnsupportedOperator: an operator has no rule.
        RuntimeError: the program cannot be compiled.
    """
    graph, tensors = graph_of(Graph, program, backend, epsilon, initial, differences, inputs)
    return graph(*tensors)


def graph_of(
    kind,
    program: Program,
    backend: Backend,
    epsilon: float,
    initial: dict,
    differences: dict,
    inputs: list[Tensor],
    *settings,
):
    """The graph of this ``kind``, made if there is none, and what it takes first.

    That is values at w_0, differences, scale, inputs and what is selected of them, in whose sizes graphs differ.
    """
    shared = 1 / RANGE <= epsilon <= RANGE and not program.is_narrow
    own = REPRESENTATIVES[epsilon >= LARGE] if shared else epsilon
    names = tuple(initial)
    moving = tuple(name for name in names if name in differences)
    start = list(initial.values())
    selecting = _selecting(program, moving)
    selected = selecting.of(start, inputs)
    key = kind, backend, own, moving, tuple(t.shape for t in selected), *settings
    if key not in program.compiled:
        _check_rules(program, set(moving), own)
        program.compiled[key] = kind(program, backend, own, names, moving, selecting.nodes, *settings)
    scale = _scale(epsilon / own, start[0].device) if shared else None
    return program.compiled[key], (start, [differences[name] for name in moving], scale, inputs, selected)


def _selecting(program: Program, moving: tuple) -> Selected:
    if (key := (Selected, moving)) not in program.compiled:
        program.compiled[key] = Selected(program, set(moving))
    return program.compiled[key]


class Graph:
    """A program at one ``epsilon``, and by D_(s eps) f(theta) = D_eps f(s theta) / s at all others, s a tensor."""

    def __init__(
        self, program: Program, backend: Backend, epsilon: float, names: tuple, moving: tuple, selecting: list
    ):
        self.program, self.epsilon = program, epsilon
        self.names, self.moving, self.selecting = names, moving, selecting
        self.structure: tuple = ()  # of the output, which tracing finds
        opaque: Any = torch.compiler.allow_in_graph(self._run)
        self.opaque = opaque  # torch knows it by its id

        def step(*tensors):
            return opaque(*tensors)

        step.__code__ = step.__code__.replace()  # its own: torch counts recompilations by code, and stops at eight
        options = options_for(program) if backend == "inductor" else None
        self.compiled = torch.compile(step, fullgraph=True, dynamic=False, backend=backend, options=options)

    def __call__(self, *tensors):
        arrived = self._compiled(*tensors)
        leaves, spec, _ = self.structure
        return pytree.tree_unflatten([next(arrived) if leaf is Tensor else leaf for leaf in leaves], spec)

    def _compiled(self, *tensors) -> Iterator[Tensor]:
        """What the graph returns, in the order of :meth:`_run`; the flags have been noted."""
        try:
            outputs = self.compiled(*tensors)
        except TorchDynamoException as error:
            raise _refusal(self.program, error) from error
        for flag in outputs[len(outputs) - self.structure[2] :]:
            note_lost(flag)
        return iter(outputs)

    def _run(self, initial, differences, scale, inputs, selected) -> list[Tensor]:
        """The tensors among the outputs, then the flags of jumps that were lost."""
        differences = dict(zip(self.moving, differences, strict=True))
        scale = None if scale is None else scale[0]
        scaled = differences if scale is None else {n: _Times.apply(d, scale) for n, d in differences.items()}
        pairs = [Pair(t, scaled[n]) if n in scaled else t for n, t in zip(self.names, initial, strict=True)]
        known = dict(zip(self.selecting, selected, strict=True))
        with collecting_lost() as lost:
            outputs = self.program(self.epsilon, pairs, inputs, known or None)
        outputs = pytree.tree_map(lambda leaf: self._unscaled(leaf, scale), outputs, is_leaf=varies)
        if scale is not None:
            for name in self.program.written & set(self.moving):
                differences[name].copy_(scaled[name] / scale)
        leaves, spec = pytree.tree_flatten(outputs)
        self.structure = [Tensor if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec, len(lost)
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)] + lost

    def _unscaled(self, leaf, scale):
        found = output_difference(leaf, self.epsilon)
        return _Over.apply(found, scale) if isinstance(leaf, Pair) and scale is not None else found


class _Times(Function):
    """t scale. The gradient is left as it is, for :class:`_Over` has not divided it."""

    @staticmethod
    def forward(ctx, t, scale):
        return t * scale

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return gradient, None


class _Over(_Times):
    """t / scale."""

    @staticmethod
    def forward(ctx, t, scale):
        return t / scale


@functools.lru_cache(maxsize=64)
def _scale(epsilon: float, device: torch.device) -> Tensor:
    """In one dimension, as Dynamo takes a float64 without any for a number, and begins anew."""
    with torch.inference_mode(False):
        return torch.tensor([epsilon], dtype=torch.float64, device=device)


def _check_rules(program: Program, moving: set[str], epsilon: float) -> None:
    try:
        program.check_rules(moving, epsilon or REPRESENTATIVES[0])
    except UnsupportedOperator as error:
        raise UnsupportedOperator(f"a compiled model needs every rule, at alpha = inf too: {error}") from None


def _refusal(program: Program, error: BaseException) -> Exception:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, UnsupportedOperator):
            return UnsupportedOperator(str(cause))
        cause = cause.__cause__ or cause.__context__
    lines = str(error).strip().splitlines()
    return RuntimeError(
        f"the divided differences of {program.module} cannot be compiled ({type(error).__name__}: "
        f"{lines[0] if lines else ''}): use the model without compile"
    )
