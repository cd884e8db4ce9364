"""Tracing: the ATen operators that a module's forward runs, as a graph.

``make_fx`` on fake tensors decomposes composite calls, ``functionalize`` makes in-place operators and buffer updates
explicit; an operator without a rule is decomposed further, to core ATen, where torch knows how.
"""

import copy
import pickle
import random
import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager, suppress

import numpy
import torch
import torch._dynamo
import torch.utils._pytree as pytree
from torch._higher_order_ops.flex_attention import flex_attention, math_attention
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.overrides import TorchFunctionMode

from ..functional import call, forward_differentiable
from ..signature import PLAIN
from . import packed
from .averages import keep_number_of_batches
from .decisions import READS, Decisions, DependsOnWeights, where
from .decompositions import decompositions
from .functions import inlining
from .lists import list_more, list_selected, size_of_list
from .next_call import attributes_of, changed_since, next_call, same_function
from .pair import UnsupportedOperator, is_continuous
from .rewriting import count_in_place, fold_biases, fold_products, free_strides, share_views, update_statistics
from .sizes import OF_ANY_SIZE, Sizes
from .supposing import MOST, Suppositions
from .trial import comes_to_nothing

aten = torch.ops.aten


class UntraceableModule(RuntimeError):
    """The module's Python code depends on the values of its tensors, so it has no trace."""


class _Watch(TorchFunctionMode):
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
            _label("stopped", not torch.is_grad_enabled())
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


INDEX = torch.Tensor.__index__
TENSORS = 'move it into tensor operations (torch.where), or wrap with difference="direct" in float64'
REMEDY = 'use detach(), or wrap with difference="direct" in float64'


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
    decisions, calls, running = Decisions(len(tensors), inputs), [], _name_nodes(module)
    suppositions = Suppositions(decisions, suppose)
    function = _Flat(module, list(tensors), leaves, in_spec, _Watch(decisions, sizes, running, suppositions))
    example = [t.detach() for t in (*tensors.values(), *inputs)]
    with _own_random_numbers(module), _refusals(module, running, lambda: _run_once(original, tensors, args, kwargs)):
        traced = _trace_once(function, example, sizes, decisions, suppositions, calls)
    traced.meta["tells_length"] = suppositions.tell_length  # of a list, which might be any
    free_strides(traced.graph)
    update_statistics(traced.graph)
    count_in_place(traced.graph)
    inside = frozenset().union(*(inlined.inside for inlined in calls))
    kept = {node for inlined in calls for node in (*inlined.inputs, *inlined.outputs)}
    fold_products(traced.graph, inside)
    fold_biases(traced.graph, inside | kept)
    share_views(traced.graph, inside | kept)
    _keep(traced.graph, lambda node: node in kept or suppositions.concern(node))
    with _refusals(module, running, lambda: None):  # a list within a list may have no rule
        selected = list_selected(traced.graph, len(tensors))
    if selected or suppositions:
        _try_lists(original, function, traced, selected, example, decisions, suppositions)
        sizes.bound(inputs)  # longer lists might have elements beyond a capacity
    _keep(traced.graph, kept.__contains__)
    sizes.close()
    return traced, function.out_spec, decisions, calls


def _moved(weight):
    """Elsewhere, as at w_0 a last layer may be 0."""
    return weight + torch.randn_like(weight) * (weight.std(correction=0) / 4 + 0.01)


def _is_alike(x) -> bool:
    """Whether an input or a buffer is all zeros, say, beside which little could be seen."""
    return is_continuous(x) and not isinstance(x, FakeTensor) and x.numel() > 0 and bool((x == x.flatten()[0]).all())


def _keep(graph, wanted: Callable) -> None:
    """The nodes that are, and all that is used."""
    graph.eliminate_dead_code(lambda node: wanted(node) or node.is_impure())


def _try_lists(
    module, function: "_Flat", traced, selected: dict, example: list, decisions: Decisions, suppositions: Suppositions
) -> None:
    """Let the trace list more than is selected, if that comes to nothing.

    Raises:
        UntraceableModule: it does not, and the trace supposes so.
    """

    def run(*tensors):
        weights, args, kwargs = function.arguments(tensors)
        return call(copy.deepcopy(module), weights, args, kwargs)

    traced.recompile()
    parameters = dict(module.named_parameters())
    with torch.random.fork_rng({t.device for t in example if t.is_cuda}), forward_differentiable():
        weights, inputs = example[: len(function.names)], example[len(function.names) :]
        moves = [name in parameters or _is_alike(t) for name, t in zip(function.names, weights, strict=True)]
        weights = [_moved(t) if move and is_continuous(t) else t for t, move in zip(weights, moves, strict=True)]
        varied = [_moved(t) if _is_alike(t) else t for t in inputs]
        moved = [*weights, *(varied if decisions.hold(varied) else inputs)]
        harmless = comes_to_nothing(traced, selected, suppositions, moved, run)
    if suppositions and not harmless:
        raise UntraceableModule(
            f"{type(module).__name__} decides in Python whether the weights select anything, and where they do not it "
            f"computes something else: {TENSORS}"
        )
    if harmless:
        list_more(traced.graph)


#: What a graph can return, beside plain values.
TRACED = torch.Tensor, torch.SymInt, torch.SymFloat, torch.SymBool


class _Flat:
    """The module as a function of a list of tensors: those called ``names``, then the ones among ``leaves``."""

    def __init__(self, module, names: list[str], leaves: list, in_spec, watch: _Watch):
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
            _label("stopped", not torch.is_grad_enabled())
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
            traced = _functional(_Relabelling(traced).run, example, sizes)
    for node in traced.graph.nodes:
        if isinstance(node.target, torch._ops.HigherOrderOperator):
            raise UntraceableModule(f"module '{node.meta.get('module') or '(root)'}' uses {node.target}: {TENSORS}")
    return traced


@contextmanager
def _refusals(module, running: list[str], run_once):
    """Makes an error inside a refusal that says where and what to do, unless the module itself does not run."""
    try:
        yield
    except (UntraceableModule, UnsupportedOperator):
        raise
    except Exception as error:
        if _is_data_dependent(error):
            place = where(traceback.extract_tb(error.__traceback__))
            raise UntraceableModule(
                f"module '{running[-1] if running else '(root)'}' of {type(module).__name__} takes Python decisions on "
                f"tensor values ({place}; {_first_line(error)}): {TENSORS}"
            ) from error
        run_once()
        raise UntraceableModule(
            f"{type(module).__name__} runs but cannot be traced ({type(error).__name__}: {_first_line(error)}): "
            f'wrap with difference="direct" in float64'
        ) from error


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


@torch.no_grad()
def _run_once(module, tensors, args, kwargs) -> None:
    """Raise what the module itself raises, as on inputs of a wrong shape."""
    tensors, args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, (tensors, args, kwargs))
    with torch.random.fork_rng([]):
        call(copy.deepcopy(module), tensors, args, kwargs)


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


#: What torch raises when Python asks for a value that a trace does not have.
DATA_DEPENDENT = {"DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode"}


def _is_data_dependent(error) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & DATA_DEPENDENT) or (isinstance(error, RuntimeError) and "tracing tensor" in str(error))


def _first_line(error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _name_nodes(module) -> list[str]:
    """Have the path of the innermost running module written into each new node's meta. Returns those that run."""
    stack = []

    def enter(path):
        def hook(*_):
            _label("module", stack[-1] if stack else "")
            stack.append(path)

        return hook

    def leave(*_):
        _label("module", stack.pop())

    for path, child in module.named_modules():
        child.register_forward_pre_hook(enter(path), prepend=True)
        child.register_forward_hook(leave, always_call=True)
    return stack


class _Relabelling(torch.fx.Interpreter):
    """Runs a graph whose nodes are labelled, and labels those of the trace that it runs in."""

    def run_node(self, node):
        result = super().run_node(node)
        _label("module", node.meta.get("module", ""))
        _label("stopped", node.meta.get("stopped", False))
        return result

    def get_attr(self, *args):
        found = super().get_attr(*args)
        if not isinstance(found, torch.Tensor):  # a graph within
            return found
        return aten.lift_fresh(found)  # functionalize knows of constants what is lifted

    def call_function(self, target, args, kwargs):
        return super().call_function(math_attention if target is flex_attention else target, args, kwargs)


def _label(key: str, value) -> None:
    """Write into the meta of the nodes that have been made since the last such call, if a trace is being made."""
    for node in reversed(mode.tracer.graph.nodes if (mode := get_proxy_mode()) else ()):
        if key in node.meta:
            break
        node.meta[key] = value
