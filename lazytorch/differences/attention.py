"""The softmax of scaled dot-product attention, where a row of -inf (nothing to attend to) gives zeros."""

import functools

import torch

from .pair import apply, rule
from .softmax import softmax_difference

aten = torch.ops.aten


@rule(aten._safe_softmax)
def safe_softmax(epsilon, out, x, dim, dtype=None):
    """The difference of softmax, which is 0 in a row of -inf: masks do not depend on theta."""

    def formula(epsilon, x):
        x = x if dtype is None else type(x)(*(part.to(dtype) for part in x))
        masked = (x.primal == -torch.inf).all(dim, keepdim=True)
        return softmax_difference(epsilon, x._replace(primal=torch.where(masked, 0, x.primal)), dim).mul_(~masked)

    return apply(formula, functools.partial(aten._safe_softmax, dim=dim, dtype=dtype), epsilon, x)
