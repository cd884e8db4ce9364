"""A trace as straight-line Python code on pairs, in which nothing is left to be looked up or decided at every run.

Where x depends on theta, ``y = aten.relu(x)`` becomes ``y_0 = aten.relu(x_0); y = on_pairs(epsilon, y_0, (x,), x)``.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import fx
from torch.fx.node import map_arg

from . import weights
from .lists import of_lists
from .operators import in_python, moved
from .pair import Pair, UnsupportedOperator, placed, primal, varies
from .relu import active
from .running_statistics import take_updates

#: Code: (epsilon, record, observe, *values of the placeholders) -> the leaves of the output.
Code = Callable[..., Any]


class Kind(NamedTuple):
    """Of runs that one code serves: which placeholders depend on theta, and what else the runs are given."""

    moving: tuple[bool, ...]
    at_both_ends: bool
    recorded: bool
    observed: bool


def straight_line(program, kind: Kind) -> Code:
    """The code that runs the nodes of a :class:`Program`."""
    return _Writer(program, kind).written()


class _Writer:
    """``values``: node of the trace -> what the code calls its value; ``starts``: the same, of values at w_0."""

    def __init__(self, program, kind: Kind):
        self.program, self.kind, self.graph = program, kind, fx.Graph()
        self.epsilon, self.record, self.observe = map(self.graph.placeholder, ("epsilon", "record", "observe"))
        self.values = {node: self.graph.placeholder(node.name) for node in program.placeholders}
        self.starts = {node: self.values[node] for node, m in zip(self.values, kind.moving, strict=True) if not m}
        self.moving = self.values.keys() - self.starts.keys()
        self.of_lists = of_lists(program.nodes) if kind.recorded else set()

    def written(self) -> Code:
        first = len(self.program.views)
        for node in self.program.nodes[:first]:
            self._write(node)
        self._form_factors()
        for node in self.program.nodes[first:]:
            self._write(node)
        return fx.GraphModule(self.program.graph_module, self.graph).forward

    def _form_factors(self) -> None:
        factors = [node for node in self.program.factors if node in self.moving]
        if factors and not self.kind.at_both_ends:
            formed = self._call(weights.at_w, self.epsilon, [self.values[node] for node in factors])
            self.values |= {node: self._call(operator.getitem, formed, i) for i, node in enumerate(factors)}

    def _write(self, node) -> None:
        if node.op == "output":
            self.graph.output(map_arg(node.args[0], self.values.__getitem__))
        elif node.op == "get_attr":
            self.values[node] = self.starts[node] = self.graph.get_attr(node.target)
        elif node.op == "call_function":
            self._write_call(node)

    def _write_call(self, node: fx.Node) -> None:
        if self.kind.observed and node in self.program.relus:
            observing = _observing(self.program.relus[node])
            self._call(observing, self.observe, self.values[node.args[0]], self.epsilon)
        if node in self.program.rereads:
            self._call(take_updates)
        if not self.moving.isdisjoint(node.all_input_nodes):
            self.moving.add(node)
        if isinstance(node.target, torch._ops.OpOverload):
            self._write_operator(node)
        else:
            self._write_python(node)
        if node in self.program.inlined:
            self._write_honour(self.program.inlined[node])
        if node in self.program.repeated and node in self.moving:
            self.values[node] = self._call(_placed, self.values[node], self.epsilon)

    def _write_operator(self, node) -> None:
        recorded = self.kind.recorded and node not in self.of_lists
        function, first = (_recorded(node), (self.record,)) if recorded else (node.target, ())
        args, kwargs = map_arg((node.args, node.kwargs), self._start)
        start = self._call(function, *first, *args, _name=f"{node.name}_0", **kwargs)
        self.values[node] = self.starts[node] = start
        if node in self.moving:
            arguments = tuple(self.values[argument] for argument in node.all_input_nodes if argument in self.moving)
            args, kwargs = map_arg((node.args, node.kwargs), self.values.__getitem__)
            rule = _on_pairs(node, node in self.program.stopped)
            self.values[node] = self._call(rule, self.epsilon, start, arguments, *args, _name=node.name, **kwargs)

    def _write_python(self, node) -> None:
        """What a graph calls beside operators; ends of a list and the like are taken by both parts."""
        args = map_arg(node.args, self.values.__getitem__)
        of_either = node.target is operator.getitem and not self.kind.at_both_ends
        self.values[node] = self._call(node.target if of_either else _in_python(node), *args)
        if node not in self.moving:
            self.starts[node] = self.values[node]

    def _write_honour(self, call) -> None:
        """The gradient of a custom function's own backward, for what it returns."""
        inputs, outputs = ([self.values[node] for node in nodes] for nodes in (call.inputs, call.outputs))
        honoured = self._call(_honouring(call), self.epsilon, inputs, outputs)
        self.values |= {node: self._call(operator.getitem, honoured, i) for i, node in enumerate(call.outputs)}

    def _start(self, node: fx.Node) -> fx.Node:
        if node not in self.starts:
            self.starts[node] = self._call(primal, self.values[node])
        return self.starts[node]

    def _call(self, function: Callable, *args, _name: str | None = None, **kwargs) -> fx.Node:
        return self.graph.create_node("call_function", function, args, kwargs, _name)


def _on_pairs(node, stopped: bool) -> Callable:
    def on_pairs(epsilon: float, out, arguments: tuple, *args, **kwargs):
        varying = [argument for argument in arguments if varies(argument)]
        if not varying:
            return out
        try:
            if not stopped:
                return moved(node.target, epsilon, out, varying, args, kwargs)
            with torch.no_grad():
                return moved(node.target, epsilon, out, varying, args, kwargs)
        except UnsupportedOperator as error:
            raise _within(node, node.target, error) from error

    return on_pairs


def _in_python(node) -> Callable:
    def in_module(*args):
        try:
            return in_python(node.target, args)
        except UnsupportedOperator as error:
            raise _within(node, node.target.__name__, error) from error

    return in_module


def _within(node, name, error: UnsupportedOperator) -> UnsupportedOperator:
    return UnsupportedOperator(f"operator {name} (in module '{node.meta.get('module') or '(root)'}'): {error}")


def _recorded(node) -> Callable:
    def recorded(record: dict, *args, **kwargs):
        if node not in record:
            record[node] = node.target(*args, **kwargs)
        return record[node]

    return recorded


def _observing(name: str) -> Callable:
    def observing(observe: Callable, preactivation, epsilon: float) -> None:
        observe(name, *active(preactivation, epsilon))

    return observing


def _honouring(call) -> Callable:
    def honouring(epsilon: float, inputs: list, outputs: list) -> list:
        return call.honour(epsilon, inputs, outputs)

    return honouring


def _placed(x, epsilon: float):
    return placed(x, epsilon) if isinstance(x, Pair) else x
