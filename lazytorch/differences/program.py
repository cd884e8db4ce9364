"""Any module as a program of ATen operators, run on pairs.

A module is traced once per input signature, or for inputs of any size (:mod:`.sizes`), and the trace is run operator by
operator: each runs once at w_0, and its rule gives the divided difference of what it returned; at small alpha it runs
at w instead, see :mod:`.ends`.
"""

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor

from ..activations import relu_name
from . import selection, weights
from .ends import LARGE, Ends, as_difference, as_ends, needs_rule
from .in_place import changing, overwritten, rereads
from .pair import (
    Pair,
    UnsupportedOperator,
    find_rule,
    is_continuous,
    primal,
    remedy,
    value,
    varies,
)
from .running_statistics import updating_together
from .sizes import Free, Sizes
from .straight_line import Code, Kind, straight_line
from .trace import UntraceableModule, trace

aten = torch.ops.aten

#: What is told of every ReLU: its name, and where its preactivation is > 0 at w_0 and at w.
Observer = Callable[[str, Tensor, Tensor], None]


class Program:
    """The trace of ``module(*args, **kwargs)`` as a function of its tensors.

    Args:
        module: the module; its own parameters and buffers only give names.
        tensors: dict name -> tensor for every parameter and buffer, with the shapes, types and device of the run.
        args, kwargs: example inputs.
        free: the dimensions of each input tensor, contiguous then, whose sizes are free; none where it is left out.

    ``written`` holds the names of the buffers that a run updates, ``relus`` the ReLU calls in their order, node -> name
    as ``activation_stability`` has it, ``seconds`` what tracing took. Raises UntraceableModule as :func:`trace` does.

    Its code is written (:mod:`.straight_line`) from these sets of ``nodes``: ``views`` of parameters, which come first;
    ``factors``, of which the values at w are formed after these, and ``repeated`` ones, as soon as they are there;
    ``stopped``, through which no gradient passes; ``rereads``, which need updated statistics; and ``inlined``, the last
    node of each custom function -> the function.
    """

    def __init__(self, module: torch.nn.Module, tensors: dict, args: tuple, kwargs: dict, free: Free = ()):
        started, self.module = time.monotonic(), type(module).__name__
        self._sizes = Sizes(free)
        self.graph_module, self.out_spec, self._decisions, calls = trace(module, tensors, args, kwargs, self._sizes)
        self.seconds = time.monotonic() - started
        self.nodes = list(self.graph_module.graph.nodes)
        self.placeholders = [node for node in self.nodes if node.op == "placeholder"]
        self.names = dict(zip(self.placeholders, tensors, strict=False))
        self.overwritten = overwritten(self.nodes)
        self.written = {self.names[node] for node in self.overwritten if node in self.names}
        self.inlined = {
            call.outputs[-1]: call for call in calls if call.outputs and call.outputs[-1] in set(self.nodes)
        }
        inside = frozenset().union(*(call.inside for call in calls))
        self.stopped = inside | {node for node in self.nodes if node.meta.get("stopped")}
        self.relus = _relus(self.nodes, module)
        self.views, self.factors, self.repeated = self._weights({name for name, _ in module.named_parameters()})
        self.rereads = rereads(self.nodes)
        self.nodes = list(dict.fromkeys((*self.views, *self.nodes)))
        self._codes: dict[Kind, Code] = {}
        self.compiled: dict = {}  # graphs of it, see lazytorch.compiled

    @functools.cached_property
    def is_narrow(self) -> bool:
        """Whether something is in float16, whose range epsilon theta leaves."""
        values = (leaf for node in self.nodes for leaf in pytree.tree_leaves(node.meta.get("val")))
        return any(isinstance(leaf, Tensor) and leaf.dtype == torch.float16 for leaf in values)

    def suits(self, inputs: list[Tensor]) -> bool:
        """Whether what the module decides in Python by its inputs' values and sizes comes out as in the trace."""
        return self.serves([t.shape for t in inputs]) and self._decisions.hold(inputs)

    def serves(self, shapes: Sequence[Sequence[int]]) -> bool:
        """Whether the inputs, whose sizes are free, may be of these."""
        return self._sizes.hold(shapes)

    def check_dependence(self, varying: set[str]) -> None:
        """Raise UntraceableModule if no output depends on any of the tensors ``varying``, whatever the inputs say."""
        if not self._decisions.taken and not any(node.op == "output" for node, _ in self.dependent(varying)):
            raise UntraceableModule(
                f"nothing that {self.module} returns depends on theta: its forward calls another module (by a closure, "
                f"say), which a copy does not take along; make it a method, or wrap that module"
            )

    def dependent(self, varying: set[str]) -> Iterator[tuple[Any, list]]:
        """The nodes that depend on these tensors, with those of their arguments that do."""
        dependent = {node for node, name in self.names.items() if name in varying}
        for node in self.nodes:
            if getattr(node.target, "overloadpacket", None) in selection.SIZES:
                continue
            if arguments := [argument for argument in node.all_input_nodes if argument in dependent]:
                dependent.add(node)
                yield node, arguments

    def _weights(self, parameters: set[str]) -> tuple[list, list, set]:
        """Views of the parameters, which can run before all else, and what is then formed at w, see :mod:`.weights`.

        And what else multiplies in several places, which is formed at w as soon as it is there.
        """
        own = [node for node, name in self.names.items() if name in parameters and node not in self.overwritten]
        views = weights.views_of(own, set(self.inlined))
        dependent = {*own, *(node for node, _ in self.dependent(parameters))}
        others = set(self.nodes) - {*own, *views, *self.stopped, *changing(self.nodes)}
        return views, weights.factors([*own, *views], dependent), set(weights.factors(others, dependent, times=2))

    def check_rules(self, varying: set[str], epsilon: float) -> None:
        """Raise UnsupportedOperator for the first operator that depends on the tensors ``varying`` and lacks a rule."""
        for node, arguments in self.dependent(varying):
            continuous = any(map(is_continuous, pytree.tree_leaves([argument.meta["val"] for argument in arguments])))
            operator = isinstance(node.target, torch._ops.OpOverload) and needs_rule(node.target, epsilon)
            if operator and continuous and not find_rule(node.target):
                module = node.meta.get("module") or "(root)"
                raise UnsupportedOperator(
                    f"operator {node.target} (in module '{module}') has no divided-difference rule at finite alpha: "
                    f"{remedy(node.target)}"
                )

    def __call__(
        self,
        epsilon: float,
        tensors: list,
        inputs: list,
        record: dict | None = None,
        observe: Observer | None = None,
    ):
        """The outputs at pairs: ``tensors`` in the order of the constructor's dict, then the input tensors.

        ``record`` keeps what the operators return at w_0: runs at the same w_0 and inputs that are given one dict
        compute that once, and update buffers at w_0 once. ``observe`` is told the signs of every ReLU's preactivation.
        """
        given = dict(zip(self.placeholders, (*tensors, *inputs), strict=True))
        values = dict(given)
        if record is not None:
            self._keep_overwritten(values, record)
        if epsilon < LARGE:
            return self._run(values, epsilon, record, observe)
        values = {node: as_ends(x, epsilon) for node, x in values.items()}
        written = {node: Ends(primal(values[node]), value(values[node], epsilon).clone()) for node in self.overwritten}
        outputs = self._run(values | written, epsilon, record, observe)
        for node, x in written.items():
            if isinstance(given[node], Pair):
                moved = as_difference(Ends(given[node].primal, x.final.detach()), epsilon)
                given[node].difference.copy_(moved.difference)
        return pytree.tree_map(lambda leaf: as_difference(leaf, epsilon), outputs, is_leaf=varies)

    def _run(self, values: dict, epsilon: float, record: dict | None, observe: Observer | None):
        """The outputs for these ``values`` of the placeholders."""
        moving = tuple([varies(x) for x in values.values()])
        kind = Kind(moving, epsilon >= LARGE, record is not None, observe is not None)
        if kind not in self._codes:
            self._codes[kind] = straight_line(self, kind)
        with updating_together():
            outputs = self._codes[kind](epsilon, record, observe, *values.values())
        return pytree.tree_unflatten(outputs, self.out_spec)

    def _keep_overwritten(self, values: dict, record: dict) -> None:
        """Later runs must find buffers at w_0, and inputs that the module changes, as the first run did."""
        for node in self.overwritten:
            if node not in record:
                record[node] = primal(values[node]).clone()
            elif isinstance(values[node], Pair):
                values[node] = Pair(record[node], values[node].difference)
            else:
                values[node] = record[node]


def _relus(nodes: list, module: torch.nn.Module) -> dict:
    modules, seen = dict(module.named_modules()), Counter()
    calls = [node for node in nodes if getattr(node.target, "overloadpacket", None) in (aten.relu, aten.relu_)]
    paths = [node.meta.get("module") or "" for node in calls]
    return {node: relu_name(path, modules.get(path), seen) for node, path in zip(calls, paths, strict=True)}
