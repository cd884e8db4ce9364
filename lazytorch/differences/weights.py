"""The weights that multiply what depends on theta: their values at w are formed once a run, for all together."""

from collections.abc import Iterable

import torch
from torch.fx import Node

from .batch_norm import IN_PLACE
from .pair import Pair, Placed
from .rewriting import is_view
from .together import each

aten = torch.ops.aten

#: Products -> the arguments that are a value and its weight.
FACTORS = {
    aten.convolution: [(0, 1)],
    aten.mm: [(0, 1)],
    aten.bmm: [(0, 1)],
    aten.addmm: [(1, 2)],
    aten.mul: [(0, 1), (1, 0)],
    aten.native_layer_norm: [(0, 2)],
    aten.native_group_norm: [(0, 1)],
    **{norm: [(0, 1)] for norm in IN_PLACE},
}


def views_of(parameters: Iterable[Node], but: set[Node]) -> list[Node]:
    """The views of the ``parameters``, each after what it views; not those of ``but`` and not what views them."""
    found: list[Node] = []
    waiting = list(parameters)
    while waiting:
        views = [user for node in waiting for user in node.users if is_view(user) and user not in but]
        found += views
        waiting = views
    return found


def factors(weights: Iterable[Node], dependent: set[Node]) -> list[Node]:
    """The ``weights`` of values that are among the ``dependent`` nodes."""
    return [node for node in weights if any(_multiplies(user, node, dependent) for user in node.users)]


def _multiplies(user: Node, node: Node, dependent: set[Node]) -> bool:
    places = FACTORS.get(getattr(user.target, "overloadpacket", None)) or FACTORS.get(user.target) or []
    return any(user.args[weight] is node and user.args[value] in dependent for value, weight in places)


def at_w(pairs: dict[Node, Pair], epsilon: float) -> dict[Node, Placed]:
    """The pairs with their values at w."""
    if not pairs:
        return {}
    primals, differences = ([getattr(pair, part) for pair in pairs.values()] for part in Pair._fields)
    formed = each("add", primals, differences, alpha=epsilon)
    return {node: Placed(pair, epsilon, t) for (node, pair), t in zip(pairs.items(), formed, strict=True)}
