"""What the nodes of a trace are labelled with: the module that ran, and whether gradients were stopped."""

import torch
from torch._higher_order_ops.flex_attention import flex_attention, math_attention
from torch.fx.experimental.proxy_tensor import get_proxy_mode

aten = torch.ops.aten


def name_nodes(module) -> list[str]:
    """Have the path of the innermost running module written into each new node's meta. Returns those that run."""
    stack = []

    def enter(path):
        def hook(*_):
            label("module", stack[-1] if stack else "")
            stack.append(path)

        return hook

    def leave(*_):
        label("module", stack.pop())

    for path, child in module.named_modules():
        child.register_forward_pre_hook(enter(path), prepend=True)
        child.register_forward_hook(leave, always_call=True)
    return stack


class Relabelling(torch.fx.Interpreter):
    """Runs a graph whose nodes are labelled, and labels those of the trace that it runs in."""

    def run_node(self, node):
        result = super().run_node(node)
        label("module", node.meta.get("module", ""))
        label("stopped", node.meta.get("stopped", False))
        return result

    def get_attr(self, *args):
        found = super().get_attr(*args)
        if not isinstance(found, torch.Tensor):  # a graph within
            return found
        return aten.lift_fresh(found)  # functionalize knows of constants what is lifted

    def call_function(self, target, args, kwargs):
        return super().call_function(math_attention if target is flex_attention else target, args, kwargs)


def label(key: str, value) -> None:
    """Write into the meta of the nodes that have been made since the last such call, if a trace is being made."""
    for node in reversed(mode.tracer.graph.nodes if (mode := get_proxy_mode()) else ()):
        if key in node.meta:
            break
        node.meta[key] = value
