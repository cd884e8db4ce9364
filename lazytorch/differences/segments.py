"""The largest or smallest of what is scattered to a place, as graph networks aggregate."""

import torch

from .derivative import derivative
from .pair import UnsupportedOperator, as_pair, rule, varies

aten = torch.ops.aten


@rule(aten.scatter_reduce.two)
def scatter_extreme(epsilon, out, x, dim, index, source, reduce, *, include_self=True):
    """max_i ((a_i - m) / eps + d_i), m = max_i a_i, of what comes to a place; where nothing does it stays as it is."""
    if epsilon == 0:
        return derivative(aten.scatter_reduce.two, x, dim, index, source, reduce, include_self=include_self)
    if reduce not in ("amax", "amin") or varies(index):
        reason = "its index depends on theta" if varies(index) else f"{reduce!r} has no rule at finite alpha"
        raise UnsupportedOperator(f'{reason}: wrap with difference="direct" in float64')
    own, arriving = as_pair(x), as_pair(source)
    a, d = (part[tuple(map(slice, index.shape))] for part in arriving)  # an index may be smaller than its source
    scores = _score(epsilon, out.gather(dim, index), a, d)
    base = _score(epsilon, out, *own) if include_self else own.difference
    return aten.scatter_reduce(base, dim, index, scores, reduce, include_self=include_self)


def _score(epsilon, extreme, a, d):
    return torch.where(a == extreme, 0, a - extreme) / epsilon + d
