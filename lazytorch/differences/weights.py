"""What multiplies what depends on theta: its values at w are formed once a run, those of weights for all together."""

from collections.abc import Iterable

import torch
from torch.fx import Node

from .batch_norm import IN_PLACE
from .pair import Pair, Placed
from .rewriting import is_view
from .together import each

aten = torch.ops.aten

#: Products -> where they have a factor, and what it multiplies.
FACTORS = {
    aten.convolution: [(0, 1), (1, 0)],
    aten.linear: [(0, 1), (1, 0)],
    aten.mm: [(0, 1), (1, 0)],
    aten.bmm: [(0, 1), (1, 0)],
    aten.addmm: [(1, 2), (2, 1)],
    aten.mul: [(0, 1), (1, 0)],
    aten.native_layer_norm: [(2, 0)],
    aten.native_group_norm: [(1, 0)],
    **{norm: [(1, 0)] for norm in IN_PLACE},
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


def factors(nodes: Iterable[Node], dependent: set[Node], times: int = 1) -> list[Node]:
    """The ``nodes`` that multiply others of the ``dependent`` ones in so many places, or more."""
    return [node for node in nodes if sum(_multiplies(user, node, dependent) for user in node.users) >= times]


def _multiplies(user: Node, node: Node, dependent: set[Node]) -> bool:
    places = FACTORS.get(getattr(user.target, "overloadpacket", None)) or FACTORS.get(user.target) or []
    return any(user.args[own] is node and user.args[other] in dependent for own, other in places)


def at_w(epsilon: float, factors: list) -> list:
    """The factors, those that are pairs with their values at w."""
    pairs = [factor for factor in factors if isinstance(factor, Pair)]
    if epsilon == 0 or not pairs:
        return factors
    with torch.no_grad():
        formed = iter(each("add", *zip(*pairs, strict=True), alpha=epsilon))
    return [Placed(factor, epsilon, next(formed)) if isinstance(factor, Pair) else factor for factor in factors]
