"""Random operators and constructors: one draw serves both parts of a pair."""

import torch

from .pair import rule

aten = torch.ops.aten

#: Their results depend on the argument's shape alone, so they are constants.
SHAPE_ONLY = (
    aten.bernoulli.p,
    aten.cauchy,
    aten.empty_like,
    aten.exponential,
    aten.full_like,
    aten.geometric,
    aten.log_normal,
    aten.new_empty,
    aten.new_empty_strided,
    aten.new_full,
    aten.new_ones,
    aten.new_zeros,
    aten.normal_functional,
    aten.ones_like,
    aten.rand_like,
    aten.randint_like,
    aten.randn_like,
    aten.random,
    aten.uniform,
    aten.zeros_like,
)


@rule(*SHAPE_ONLY)
def constant(epsilon, out, *args, **kwargs):
    return None


@rule(aten.native_dropout)
def dropout(epsilon, out, x, p, train):
    """The mask is the one drawn at w_0."""
    scale = 1 / (1 - p) if train and p < 1 else 1.0
    return x.difference * out[1] * scale, None
