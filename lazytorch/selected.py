"""What a module selects of its inputs by their values, as a graph network drops the edges from a node to itself.

How many elements that leaves, only computing it tells, while a compiled graph is of fixed sizes. So it is computed
before the graph, which takes it as it takes the inputs.
"""

import torch
from torch import Tensor, fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from .differences import Program


class Selected:
    """The ``nodes`` of a program that return a tensor of so many elements, and do not depend on those ``moving``."""

    def __init__(self, program: Program, moving: set[str]):
        graph, copies = fx.Graph(), {}
        self.nodes: list[fx.Node] = []
        for node in program.nodes:
            if node.op == "placeholder":
                copy = graph.node_copy(node)
                if program.names.get(node) not in moving:
                    copies[node] = copy
            elif _is_function(node) and all(argument in copies for argument in node.all_input_nodes):
                copies[node] = graph.node_copy(node, copies.__getitem__)
                if _selects(node):
                    self.nodes.append(node)
        graph.output([copies[node] for node in self.nodes])
        graph.eliminate_dead_code()
        self._graph = fx.GraphModule(program.graph_module, graph)

    @torch.no_grad()
    def of(self, initial: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
        """What the nodes return for these, all that the program takes."""
        return list(self._graph(*initial, *inputs)) if self.nodes else []


def _is_function(node: fx.Node) -> bool:
    """Of its arguments alone, which it leaves as they are."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return node.op != "output"  # a constant, or an element
    return not node.target._schema.is_mutable and torch.Tag.nondeterministic_seeded not in node.target.tags


def _selects(node: fx.Node) -> bool:
    """Whether sizes of what it returns are in none of its arguments."""
    value = node.meta.get("val")
    known = [free_unbacked_symbols(argument.meta["val"]) for argument in node.all_input_nodes]
    return isinstance(value, Tensor) and bool(free_unbacked_symbols(value).difference(*known))
