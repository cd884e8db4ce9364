"""What the nodes of a traced graph change in place: buffers, batch norm's statistics among them; and what shows it."""

from collections.abc import Collection

import torch

from .batch_norm import IN_PLACE

aten = torch.ops.aten


def overwritten(nodes: Collection) -> list:
    """The nodes whose tensors others of the ``nodes`` change, each once."""
    written: list = []
    for node in nodes:
        if getattr(node.target, "overloadpacket", None) in (aten.copy_, aten.add_):
            written.append(node.args[0])
        written += statistics(node)
    return list(dict.fromkeys(written))


def changing(nodes: Collection) -> set:
    """Those and the views of them, whose values differ from one node to the next."""
    written = set(overwritten(nodes))
    return written | {view for view, viewed in _views(nodes).items() if viewed in written}


def rereads(nodes: Collection) -> set:
    """The nodes that find running statistics, or views of them, which another node has updated before."""
    views, found, before = _views(nodes), set(), set()
    for node in nodes:
        if before.intersection(views.get(argument, argument) for argument in node.all_input_nodes):
            found.add(node)
        before.update(statistics(node))
    return found


def statistics(node) -> list:
    """The nodes of the running statistics that a node updates."""
    kinds = {node.target, getattr(node.target, "overloadpacket", None)}
    return [t for t in node.args[3:5] if t is not None] if kinds & set(IN_PLACE) and node.args[5] else []


def _views(nodes: Collection) -> dict:
    """View -> what it is a view of, which is none itself."""
    views: dict = {}
    for node in nodes:
        if node.all_input_nodes and getattr(node.target, "is_view", True):  # getitem, say, is none of torch's operators
            first = node.all_input_nodes[0]
            views[node] = views.get(first, first)
    return views
