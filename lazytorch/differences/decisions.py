"""Python decisions of a forward on values that do not depend on the weights, as on an attention mask that is all ones.

They are taken as without a trace, on the values of the inputs that it is made for, and the trace is used for as long as
they come out the same.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, NamedTuple

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import PythonKeyTracer, get_proxy_mode, get_proxy_slot
from torch.fx.node import map_arg
from torch.utils._python_dispatch import _disable_current_modes

#: By what Python reads a value.
READS = {
    *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.__contains__, Tensor.item),
    *(Tensor.tolist, Tensor.equal, Tensor.allclose, torch.equal, torch.allclose, torch.is_nonzero, Tensor.is_nonzero),
}


class DependsOnWeights(Exception):
    """A value cannot be told from the inputs alone."""


class Decision(NamedTuple):
    """``function`` of leaves, of which a node stands for what the graph has computed there, was ``result``."""

    function: Callable
    leaves: list
    spec: Any
    result: Any

    def read(self, value_of: Callable[[fx.Node], Tensor]) -> Any:
        """What the function gives with these values of the nodes."""
        leaves = [value_of(leaf) if isinstance(leaf, fx.Node) else leaf for leaf in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        return self.function(*args, **kwargs)


class Decisions:
    """Takes the decisions of one trace, whose graph begins with ``weights`` placeholders, and those of ``inputs``."""

    def __init__(self, weights: int, inputs: Sequence[Tensor]):
        self._weights, self._inputs = weights, list(inputs)
        self._are_fake = any(isinstance(t, FakeTensor) for t in self._inputs)
        self._root: torch.nn.Module | None = None
        self._values: dict[fx.Node, Any] = {}
        self._taken: list[Decision] = []
        self._graph: fx.GraphModule | None = None

    def take(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        """What ``function``, one of ``READS``, gives on traced tensors.

        Raises:
            DependsOnWeights: it depends on more than the inputs: on weights, buffers, or random numbers.
        """
        self._root = tracer().root
        leaves, spec = pytree.tree_flatten((args, kwargs))
        leaves = [node_of(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        with torch.no_grad(), temporarily_clear_interpreter_stack(), _disable_current_modes():
            decision = Decision(function, leaves, spec, None)
            decision = decision._replace(result=decision.read(self._value))
        if any(isinstance(leaf, fx.Node) for leaf in leaves):
            self._taken.append(decision)
        return decision.result

    def depend_on_weights(self, tensor: Tensor) -> bool:
        """Whether a traced tensor's values do."""
        left, seen = [node_of(tensor)], set()
        while left:
            node = left.pop()
            if isinstance(node, fx.Node) and node not in seen:
                seen.add(node)
                if node.op == "placeholder" and self._number(node) < self._weights:
                    return True
                left += node.all_input_nodes
        return False

    def _number(self, node: fx.Node) -> int:
        return [other for other in node.graph.nodes if other.op == "placeholder"].index(node)

    def _value(self, node: fx.Node) -> Any:
        if node not in self._values:
            self._values[node] = self._evaluated(node)
        return self._values[node]

    def _evaluated(self, node: fx.Node) -> Any:
        if self._are_fake:  # in a rehearsal, where every number is 1
            like = node.meta["val"]
            return torch.ones((), dtype=like.dtype).expand(like.shape)
        if node.op == "placeholder":
            number = self._number(node)
            if number < self._weights:
                raise DependsOnWeights
            return self._inputs[number - self._weights]
        target: Any = node.target
        if node.op == "get_attr":
            return getattr(self._root, target)
        if isinstance(target, torch._ops.OpOverload) and (
            target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags
        ):
            raise DependsOnWeights
        args, kwargs = map_arg((node.args, node.kwargs), self._value)
        return target(*args, **kwargs)

    @property
    def taken(self) -> bool:
        """Whether there are any."""
        return bool(self._taken)

    def close(self, root: torch.nn.Module) -> None:
        """Keep what the decisions need of the graph, and no values."""
        if self._taken and not self._are_fake:
            graph, copies = fx.Graph(), {}
            wanted = [leaf for decision in self._taken for leaf in decision.leaves if isinstance(leaf, fx.Node)]
            every = wanted[0].graph.nodes
            placeholders = [node for node in every if node.op == "placeholder"][self._weights :]
            needed = set(self._values) | set(placeholders)
            for node in every:
                if node in needed:
                    copies[node] = graph.node_copy(node, copies.__getitem__)
            graph.output([copies[node] for node in wanted])
            self._graph = fx.GraphModule(root, graph)
        self._values, self._inputs, self._root = {}, [], None

    def hold(self, inputs: Sequence[Tensor]) -> bool:
        """Whether they come out the same on these inputs. Reads values, as the module itself does: waits for them."""
        if self._graph is None:
            return True
        with torch.no_grad():
            values = iter(self._graph(*inputs))
        return all(decision.read(lambda _: next(values)) == decision.result for decision in self._taken)


def tracer() -> PythonKeyTracer:
    """Of the trace that is being made."""
    mode = get_proxy_mode()
    assert mode is not None, "no trace is being made"
    return mode.tracer


def node_of(tensor: Tensor) -> Any:
    """The node of a tensor in the trace that is being made; a constant is itself.

    Raises:
        DependsOnWeights: it is neither.
    """
    if torch._is_functional_tensor(tensor):
        torch._sync(tensor)  # what has been done in place to a view of it
        tensor = torch._from_functional_tensor(tensor)
    slot = get_proxy_slot(tensor, tracer(), None)
    if slot is not None:
        return slot.proxy.node
    if isinstance(tensor, FakeTensor):
        raise DependsOnWeights
    return tensor


#: Where torch and this package are.
OURS = (os.path.dirname(torch.__file__) + os.sep, os.path.dirname(os.path.dirname(__file__)) + os.sep, "<")


def frame_of_module() -> FrameType:
    """The innermost frame that is neither torch's nor of this package; the outermost of all if there is none."""
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    return frame


def where(frames: traceback.StackSummary | Any) -> str:
    """File, line and text of the innermost frame that is neither torch's nor of this package."""
    own = [frame for frame in frames if not frame.filename.startswith(OURS)]
    return f"{own[-1].filename}:{own[-1].lineno}, {own[-1].line}" if own else "unknown place"
