"""The program of a module as one compiled graph, forward and backward.

To Dynamo, which cannot follow the interpreter, a run of it is one opaque call; AOTAutograd traces through that, so
every rule and its own backward pass go into the graph.
"""

import functools
from collections.abc import Callable

import torch
import torch.utils._pytree as pytree
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .differences import Pair, Program, UnsupportedOperator
from .differences.ends import LARGE
from .differences.pair import collecting_lost, is_continuous, note_lost, value, varies
from .transforms import active

Backend = str | Callable

#: Up to this, and down to its inverse, alphas have one graph on each side of 1; beyond, epsilon theta may overflow.
RANGE = 1e8
#: The epsilon of the graph that serves alphas above 1, and of the one for those up to 1, which follows no rules.
REPRESENTATIVES = LARGE / 2, LARGE
#: Of inductor. The bits of a value that a rule subtracts from are those that it was computed with: no fused
#: multiply-add, no rounding left out. Random numbers are those of eager mode.
OPTIONS = {"emulate_precision_casts": True, "fallback_random": True}


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
    shared = 1 / RANGE <= epsilon <= RANGE and not _is_narrow(program)
    own = REPRESENTATIVES[epsilon >= LARGE] if shared else epsilon
    key = backend, own, frozenset(differences)
    if key not in program.compiled:
        _check_rules(program, set(differences), own)
        program.compiled[key] = _Graph(program, backend, own, tuple(initial), frozenset(differences))
    scale = _scale(epsilon / own, next(iter(initial.values())).device) if shared else None
    moving = [differences[name] for name in initial if name in differences]
    return program.compiled[key](list(initial.values()), moving, inputs, scale)


class _Graph:
    """A program at one ``epsilon``, and by D_(s eps) f(theta) = D_eps f(s theta) / s at all others, s a tensor."""

    def __init__(self, program: Program, backend: Backend, epsilon: float, names: tuple, moving: frozenset):
        self.program, self.epsilon, self.names, self.moving = program, epsilon, names, moving
        self.structure: tuple = ()  # of the output, which tracing finds
        opaque = torch.compiler.allow_in_graph(self._run)
        self.opaque = opaque  # torch knows it by its id

        def step(initial, differences, inputs, scale):
            return opaque(initial, differences, inputs, scale)

        options = OPTIONS if backend == "inductor" else None
        self.compiled = torch.compile(
            step, fullgraph=True, dynamic=False, backend=backend, options=options, isolate_recompiles=True
        )

    def __call__(self, *tensors):
        try:
            outputs = self.compiled(*tensors)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise _refusal(self.program, error) from error
        leaves, spec, lost = self.structure
        for flag in outputs[len(outputs) - lost :]:
            note_lost(flag)
        arrived = iter(outputs)
        return pytree.tree_unflatten([next(arrived) if leaf is Tensor else leaf for leaf in leaves], spec)

    def _run(self, initial, differences, inputs, scale) -> list[Tensor]:
        """The tensors among the outputs, then the flags of jumps that were lost."""
        differences = dict(zip((n for n in self.names if n in self.moving), differences, strict=True))
        scale = None if scale is None else scale[0]
        scaled = differences if scale is None else {n: d * scale for n, d in differences.items()}
        pairs = [Pair(t, scaled[n]) if n in scaled else t for n, t in zip(self.names, initial, strict=True)]
        with collecting_lost() as lost:
            outputs = self.program(self.epsilon, pairs, inputs)
        outputs = pytree.tree_map(lambda leaf: self._unscaled(leaf, scale), outputs, is_leaf=varies)
        if scale is not None:
            for name in self.program.written & self.moving:
                differences[name].copy_(scaled[name] / scale)
        leaves, spec = pytree.tree_flatten(outputs)
        self.structure = [Tensor if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec, len(lost)
        return [leaf for leaf in leaves if isinstance(leaf, Tensor)] + lost

    def _unscaled(self, leaf, scale):
        found = output_difference(leaf, self.epsilon)
        return found / scale if isinstance(leaf, Pair) and scale is not None else found


@functools.lru_cache(maxsize=64)
def _scale(epsilon: float, device: torch.device) -> Tensor:
    """In one dimension, as Dynamo takes a float64 without any for a number, and begins anew."""
    with torch.inference_mode(False):
        return torch.tensor([epsilon], dtype=torch.float64, device=device)


def _is_narrow(program: Program) -> bool:
    """Whether something is in float16, whose range epsilon theta leaves."""
    values = (leaf for node in program.nodes for leaf in pytree.tree_leaves(node.meta.get("val")))
    return any(isinstance(leaf, Tensor) and leaf.dtype == torch.float16 for leaf in values)


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
