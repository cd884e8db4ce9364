"""Tracing: the ATen operators that a module's forward runs, as a graph.

``make_fx`` on fake tensors decomposes composite calls, ``functionalize`` makes in-place operators and buffer updates
explicit; an operator without a rule is decomposed further, to core ATen, where torch knows how.
"""

import copy
import pickle
import random
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress

import numpy
import torch
import torch._dynamo
import torch.utils._pytree as pytree
from torch._higher_order_ops.flex_attention import flex_attention
from torch.fx.experimental.proxy_tensor import make_fx

from ..functional import call, forward_differentiable
from ..signature import PLAIN
from .averages import keep_number_of_batches
from .decisions import Decisions
from .decompositions import decompositions
from .functions import inlining
from .in_place import statistics
from .labels import Relabelling, label, name_nodes
from .lists import list_more, list_selected
from .next_call import attributes_of, changed_since, next_call, same_function
from .refusals import TENSORS, UntraceableModule, refusals, run_once
from .rewriting import find_places, rewrite
from .sizes import Sizes
from .supposing import MOST, Suppositions
from .trial import is_harmless
from .watch import Watch

aten = torch.ops.aten


def trace(module, tensors: dict, args: tuple, kwargs: dict, sizes: Sizes):
    """(graph module, structure of the outputs, decisions, custom functions) of ``module(*args, **kwargs)``.

    The graph takes the ``tensors`` (name -> example value of every parameter and buffer), then the input tensors. It
    holds for inputs of these ``sizes``.

    An output that is neither a tensor nor a plain value, as a cache of keys and values is, is None.

    What Python computes on the way, from the module's own attributes for one, is constant in the graph. A node made
    under ``no_grad`` is marked in its meta as stopped.

    Raises:
        UntraceableModule: Python control flow depends on tensor values or on Python's random numbers, or the module
            runs but cannot be traced.
    """
    try:
        return _trace(module, tensors, args, kwargs, sizes, suppose=0)
    except UntraceableModule as error:
        sizes.forget()
        with suppress(UntraceableModule):
            traced = _trace(module, tensors, args, kwargs, sizes, suppose=1)
            told = traced[0].meta["tells_length"]
            if not told or _computes(
                traced[0], lambda: _trace(module, tensors, args, kwargs, Sizes(sizes.free), suppose=MOST)[0]
            ):
                return traced
        raise error from error.__cause__


def _trace(module, tensors: dict, args: tuple, kwargs: dict, sizes: Sizes, suppose: int):
    """Where ``suppose`` > 0, Python's decisions on whether the weights select anything find that they do, so many."""

    def trace_of(prepared, sizes):
        return _traced(module, prepared, tensors, args, kwargs, sizes, suppose)

    copied = copy.deepcopy(module)  # it may keep tensors of its forward, which are not real here
    before = attributes_of(copied)
    traced = trace_of(copied, sizes)
    if changed := changed_since(before, copied):
        following = next_call(module, copied, changed)
        if following is not None and not _computes(traced[0], lambda: trace_of(following, Sizes(sizes.free))[0]):
            raise UntraceableModule(
                f"{type(module).__name__} changes its attribute {'.'.join(filter(None, changed[0]))!r} in forward and "
                f"then computes something else, which a trace would not: make it an argument or a buffer, or if the "
                f"first call alone differs call the module once before it is wrapped"
            )
    return traced


def _computes(traced, trace_again) -> bool:
    try:
        return same_function(trace_again(), traced)
    except UntraceableModule:
        return False


def _traced(original, module, tensors: dict, args: tuple, kwargs: dict, sizes: Sizes, suppose: int):
    """Of ``module``, a copy of the ``original``."""
    leaves, in_spec = pytree.tree_flatten((args, kwargs))
    inputs = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    keep_number_of_batches(module)
    decisions, calls, running = Decisions(len(tensors), inputs), [], name_nodes(module)
    suppositions = Suppositions(decisions, suppose)
    function = _Flat(module, list(tensors), leaves, in_spec, Watch(decisions, sizes, running, suppositions))
    example = [t.detach() for t in (*tensors.values(), *inputs)]
    with _own_random_numbers(module), refusals(module, running, lambda: run_once(original, tensors, args, kwargs)):
        traced = _trace_once(function, example, sizes, decisions, suppositions, calls)
    traced.meta["tells_length"] = suppositions.tell_length  # of a list, which might be any
    inside = frozenset().union(*(inlined.inside for inlined in calls))
    kept = {node for inlined in calls for node in (*inlined.inputs, *inlined.outputs)}
    rewrite(traced.graph, inside, kept)
    _keep(traced.graph, lambda node: node in kept or suppositions.concern(node))
    with refusals(module, running, lambda: None):  # a list within a list may have no rule
        selected = list_selected(traced.graph, len(tensors))
    if selected or suppositions:
        if is_harmless(original, function, traced, selected, example, decisions, suppositions):
            list_more(traced.graph)
        elif suppositions:
            raise UntraceableModule(
                f"{type(module).__name__} decides in Python whether the weights select anything, and where they do not "
                f"it computes something else: {TENSORS}"
            )
        sizes.bound(inputs)  # longer lists might have elements beyond a capacity
    find_places(traced.graph)
    _keep(traced.graph, kept.__contains__)
    sizes.close()
    return traced, function.out_spec, decisions, calls


def _keep(graph, wanted: Callable) -> None:
    """The nodes that are, those that change something, and all that is used."""
    graph.eliminate_dead_code(lambda node: wanted(node) or node.is_impure() or bool(statistics(node)))


#: What a graph can return, beside plain values.
TRACED = torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool


class _Flat:
    """The module as a function of a list of tensors: those called ``names``, then the ones among ``leaves``."""

    def __init__(self, module, names: list[str], leaves: list, in_spec, watch: Watch):
        self.module, self.names, self.leaves, self.in_spec, self.watch = module, names, leaves, in_spec, watch
        self.out_spec: pytree.TreeSpec  # of the last call

    def arguments(self, tensors: Sequence) -> tuple[dict, tuple, dict]:
        """Weights by name, and what the module is called with."""
        arrived = iter(tensors[len(self.names) :])
        filled = [next(arrived) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        return dict(zip(self.names, tensors, strict=False)), *pytree.tree_unflatten(filled, self.in_spec)

    def __call__(self, *tensors) -> list:
        weights, args, kwargs = self.arguments(tensors)
        with self.watch:
            outputs, self.out_spec = pytree.tree_flatten(call(self.module, weights, args, kwargs))
            outputs = [leaf if isinstance(leaf, TRACED) or type(leaf) in PLAIN else None for leaf in outputs]
            label("stopped", not torch.is_grad_enabled())
        return outputs


def _trace_once(
    function: _Flat, example: list, sizes: Sizes, decisions: Decisions, suppositions: Suppositions, calls: list
):
    # A compiled module is traced as the module it was compiled from.
    eager = torch._dynamo.config.patch(error_on_nested_fx_trace=False)
    with torch.enable_grad(), forward_differentiable(), eager, inlining(calls):
        traced = _functional(function, example, sizes)
        decisions.close(traced)
        in_place = any(map(_is_in_place, traced.graph.nodes))  # in a composite that functionalize does not look into
        if in_place or any(node.target is flex_attention for node in traced.graph.nodes):
            if calls or suppositions:
                beside = "an autograd.Function" if calls else "decisions on what the weights select"
                raise UntraceableModule(f"it works in place, or by flex_attention, beside {beside}: {TENSORS}")
            traced = _functional(Relabelling(traced).run, example, sizes)
    for node in traced.graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            raise UntraceableModule(f"module '{node.meta.get('module') or '(root)'}' uses {node.target}: {TENSORS}")
    return traced


@contextmanager
def _own_random_numbers(module):
    """Raises UntraceableModule if Python's or numpy's random numbers are drawn inside."""
    before = _state_of_generators()
    yield
    if before != _state_of_generators():
        raise UntraceableModule(
            f"{type(module).__name__} draws Python's or numpy's random numbers, which a trace would keep for ever: "
            f'draw with torch, or wrap with difference="direct" in float64'
        )


def _state_of_generators():
    return random.getstate(), pickle.dumps(numpy.random.get_state(legacy=False))


def _functional(function, example: list, sizes: Sizes):
    function = torch.func.functionalize(function)
    if not sizes.any:
        return make_fx(function, decompositions(), tracing_mode="fake", _allow_non_fake_inputs=True)(*example)
    with sizes.symbolic(example) as stand_ins:  # which make_fx takes as they are
        return make_fx(function, decompositions(), _allow_non_fake_inputs=True)(*stand_ins)


def _is_in_place(node) -> bool:
    """Whether the node changes a tensor other than an updated buffer."""
    if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.is_mutable:
        return False
    return node.target is not aten.copy_.default or node.args[0].op != "placeholder"
