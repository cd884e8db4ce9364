"""Random operators and constructors: one draw serves both parts of a pair."""

import torch

from .pair import Pair, rule

aten = torch.ops.aten

#: Their results depend on the argument's shape alone, so they are constants.
SHAPE_ONLY = (
    aten.bernoulli.p,
    aten.empty_like,
    aten.full_like,
    aten.new_empty,
    aten.new_full,
    aten.new_ones,
    aten.new_zeros,
    aten.ones_like,
    aten.rand_like,
    aten.randn_like,
    aten.zeros_like,
)


def _constant(operator):
    def draw(epsilon, x, *args, **kwargs):
        return operator(x.primal, *args, **kwargs)

    return draw


for _operator in SHAPE_ONLY:
    rule(_operator)(_constant(_operator))


@rule(aten.native_dropout)
def dropout(epsilon, x, p, train):
    out, mask = aten.native_dropout(x.primal, p, train)
    scale = 1 / (1 - p) if train and p < 1 else 1.0
    return Pair(out, x.difference * mask * scale), mask
