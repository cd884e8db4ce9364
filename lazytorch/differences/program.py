"""Any module as a program of ATen operators, run on pairs.

A module is traced once per input signature (``make_fx`` on fake tensors: composite calls are decomposed, in-place
operators functionalised, buffer updates made explicit) and the trace is run operator by operator on pairs.
"""

import torch
import torch.fx
import torch.utils._pytree as pytree
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx
from torch.overrides import TorchFunctionMode

from ..functional import call
from . import bilinear, linear, normalisation, pointwise, pooling, random, softmax  # noqa: F401 (they register rules)
from .pair import Pair, UnsupportedOperator, find_rule, primal


class UntraceableModule(RuntimeError):
    """The module's Python code depends on the values of its tensors, so it has no trace."""


class Program(torch.fx.Interpreter):
    """The trace of ``module(*args, **kwargs)`` as a function of its tensors.

    Args:
        module: the module; its own parameters and buffers only give names.
        tensors: dict name -> tensor for every parameter and buffer, with the shapes, types and device of the run.
        args, kwargs: example inputs.

    ``written`` holds the names of the buffers that a run updates.

    Raises:
        UntraceableModule: Python control flow depends on tensor values, or a gradient is stopped on the way.
    """

    def __init__(self, module: torch.nn.Module, tensors: dict, args: tuple, kwargs: dict):
        leaves, in_spec = pytree.tree_flatten((args, kwargs))
        inputs = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        graph_module, self.out_spec = _trace(module, tensors, leaves, inputs, in_spec)
        graph_module.graph.eliminate_dead_code()
        super().__init__(graph_module)
        self.extra_traceback = False
        placeholders = [node for node in graph_module.graph.nodes if node.op == "placeholder"]
        self.names = dict(zip(placeholders, tensors, strict=False))
        self.written = {self.names[node] for node in _written(graph_module.graph) if node in self.names}

    def check_rules(self, varying: set[str]) -> None:
        """Raise UnsupportedOperator for the first operator without a rule that depends on the tensors ``varying``."""
        for node in _dependent(self.module.graph, [node for node, name in self.names.items() if name in varying]):
            if isinstance(node.target, torch._ops.OpOverload) and not find_rule(node.target):
                module = node.meta.get("module") or "(root)"
                raise UnsupportedOperator(
                    f"operator {node.target} (in module '{module}') has no divided-difference rule at finite alpha: "
                    f"register one with lazytorch.rule(torch.ops.{node.target}), or wrap with "
                    f'difference="direct" in float64'
                )

    def __call__(self, epsilon: float, tensors: list, inputs: list):
        """The outputs at pairs: ``tensors`` in the order of the constructor's dict, then the input tensors."""
        self.epsilon = epsilon
        return pytree.tree_unflatten(self.run(*tensors, *inputs, enable_io_processing=False), self.out_spec)

    def call_function(self, target, args, kwargs):
        if not _has_pair((args, kwargs)) or not isinstance(target, torch._ops.OpOverload):
            return target(*args, **kwargs)  # a constant, or getitem
        rule = find_rule(target)
        if rule is None:
            return _derivative(target, args, kwargs)
        return rule(self.epsilon, *args, **kwargs)


def _has_pair(tree) -> bool:
    return any(isinstance(leaf, Pair) for leaf in pytree.tree_leaves(tree, is_leaf=_is_pair))


def _is_pair(x) -> bool:
    return isinstance(x, Pair)


def _derivative(operator, args, kwargs):
    """The limit epsilon = 0 of an operator without a rule: its Jacobian-vector product."""
    leaves, spec = pytree.tree_flatten((args, kwargs), is_leaf=_is_pair)
    varying = [i for i, leaf in enumerate(leaves) if _is_pair(leaf)]

    def function(*values):
        filled = [primal(leaf) for leaf in leaves]
        for i, x in zip(varying, values, strict=True):
            filled[i] = x
        args, kwargs = pytree.tree_unflatten(filled, spec)
        return operator(*args, **kwargs)

    primals, tangents = zip(*(leaves[i] for i in varying), strict=True)
    outputs = torch.func.jvp(function, primals, tangents)
    return pytree.tree_map(lambda a, d: Pair(a, d) if a.is_floating_point() else a, *outputs)


def _dependent(graph, varying: list) -> list:
    """The nodes that depend on those in ``varying``, in order."""
    found = dict.fromkeys(varying)
    for node in graph.nodes:
        if any(argument in found for argument in node.all_input_nodes):
            found[node] = None
    return list(found)


def _written(graph) -> list:
    """The nodes whose tensors are updated in place."""
    nodes = []
    for node in graph.nodes:
        packet = getattr(node.target, "overloadpacket", None)
        if packet is torch.ops.aten.copy_:
            nodes.append(node.args[0])
        elif {packet, node.target} & set(normalisation.IN_PLACE) and node.args[5]:  # in training mode
            nodes += [argument for argument in node.args[3:5] if argument is not None]
    return nodes


class _NoStopGradient(TorchFunctionMode):
    """Refuses what a trace would lose: gradients that the module stops on purpose."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in STOPPING or (function is torch._C._set_grad_enabled and not args[0]):
            name = "no_grad" if function is torch._C._set_grad_enabled else "detach"
            raise UntraceableModule(
                f"the module stops gradients on the way ({name} in its forward), which a trace does not follow: "
                f'wrap with difference="direct" in float64'
            )
        return function(*args, **(kwargs or {}))


STOPPING = (torch.Tensor.detach, torch.Tensor.detach_, torch.detach, torch.detach_)


def _trace(module, tensors, leaves, inputs, in_spec):
    out_spec = None

    def function(*flat):
        nonlocal out_spec
        weights = dict(zip(tensors, flat, strict=False))
        arrived = iter(flat[len(tensors) :])
        filled = [next(arrived) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(filled, in_spec)
        with _NoStopGradient():
            outputs, out_spec = pytree.tree_flatten(call(module, weights, args, kwargs))
        return outputs

    hooks = _name_nodes(module)
    example = [t.detach() for t in (*tensors.values(), *inputs)]
    try:
        with torch.no_grad():
            functional = torch.func.functionalize(function)
            traced = make_fx(functional, tracing_mode="fake", _allow_non_fake_inputs=True)(*example)
    except Exception as error:
        if _is_data_dependent(error):
            raise UntraceableModule(
                f"{type(module).__name__} takes Python decisions on tensor values ({_first_line(error)}): move them "
                f'into tensor operations (torch.where), or wrap with difference="direct" in float64'
            ) from error
        raise
    finally:
        for hook in hooks:
            hook.remove()
    return traced, out_spec


#: What torch raises when Python asks for a value that a trace does not have.
DATA_DEPENDENT = {"DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode"}


def _is_data_dependent(error) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & DATA_DEPENDENT) or (isinstance(error, RuntimeError) and "tracing tensor" in str(error))


def _first_line(error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _name_nodes(module) -> list:
    """Hooks that write the path of the innermost running module into each new node's meta."""
    hooks, stack = [], []

    def enter(path):
        def hook(*_):
            _label(stack[-1] if stack else "")
            stack.append(path)

        return hook

    def leave(*_):
        _label(stack.pop())

    for path, child in module.named_modules():
        hooks.append(child.register_forward_pre_hook(enter(path), prepend=True))
        hooks.append(child.register_forward_hook(leave, always_call=True))
    return hooks


def _label(path):
    for node in reversed(get_proxy_mode().tracer.graph.nodes):
        if "module" in node.meta:
            break
        node.meta["module"] = path
