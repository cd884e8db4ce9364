"""Extremes and order. What is largest at w is decided by the differences, not by values at w rounded to their type.

An operator that picks elements has the divided difference d_i1 + (a_i1 - a_i0) / eps, where i0 is picked at w_0 and i1
at w. At eps = 0, and in the gradient, ties are torch's: the element that the operator itself picks.
"""

import torch
from torch import Tensor

from .jumps import jump
from .pair import RULES, Pair, rule

aten = torch.ops.aten


def _extreme(epsilon: float, sign: int, x: Pair, dims) -> tuple[Tensor, Tensor]:
    """(difference, first index) of the maximum (sign 1) or minimum (-1) over ``dims`` together (none: all).

    The difference is max_i ((a_i - m) / eps + d_i) with m = max_i a_i; at eps = 0, d at the argmax of a.
    """
    a, d = (sign * _rows(part, dims) for part in x)
    if epsilon == 0:
        index = a.argmax(-1, keepdim=True)
    else:
        m = a.amax(-1, keepdim=True)
        d = torch.where(a == m, 0, (a - m) / epsilon) + d  # equal infinities differ by 0
        index = d.argmax(-1, keepdim=True)
    return sign * d.gather(-1, index), index


def _rows(t: Tensor, dims) -> Tensor:
    dims = [dim % max(t.dim(), 1) for dim in dims]
    kept = [i for i in range(t.dim()) if i not in dims] if dims else []
    return t.permute(kept + (dims or list(range(t.dim())))).reshape([t.shape[i] for i in kept] + [-1])


def _maximum(sign):
    def of_dimensions(epsilon, out, x, dims=(), keepdim=False):
        return _extreme(epsilon, sign, x, dims)[0].view(out.shape)

    def of_all(epsilon, out, x):
        return _extreme(epsilon, sign, x, ())[0].view(out.shape)

    def with_index(epsilon, out, x, dim, keepdim=False):
        return tuple(t.view(out[0].shape) for t in _extreme(epsilon, sign, x, [dim]))

    def index(epsilon, out, x, dim=None, keepdim=False):
        return _extreme(epsilon, sign, x, () if dim is None else [dim])[1].view(out.shape)

    return of_dimensions, of_all, with_index, index


for _sign, _operators in {
    1: (aten.amax, aten.max.default, aten.max.dim, aten.argmax),
    -1: (aten.amin, aten.min.default, aten.min.dim, aten.argmin),
}.items():
    for _operator, _rule in zip(_operators, _maximum(_sign), strict=True):
        rule(_operator)(_rule)

#: Operators that return (values, indices) along one dimension, and the position of that argument.
ORDERED = {
    aten.cummax.default: 1,
    aten.cummin.default: 1,
    aten.kthvalue.default: 2,
    aten.median.dim: 1,
    aten.sort.default: 1,
    aten.sort.stable: 2,
    aten.topk.default: 2,
}


def _ordered(operator, position):
    def ordered(epsilon, out, x, *args, **kwargs):
        dim = kwargs["dim"] if "dim" in kwargs else (-1, *args)[position] if len(args) >= position else -1
        values, indices = out
        if epsilon > 0:
            indices = operator(ranks(epsilon, x, dim), *args, **kwargs)[1]
        return _picked(epsilon, values, x, dim, indices), indices

    return ordered


def _picked(epsilon, values, x, dim, indices):
    def take(t):
        if indices.dim() == t.dim():
            return t.gather(dim, indices)
        return t.gather(dim, indices.unsqueeze(dim)).squeeze(dim)

    return take(x.difference) + jump(epsilon, values, take(x.primal))


for _operator, _position in ORDERED.items():
    rule(_operator)(_ordered(_operator, _position))


@rule(aten.median.default)
def median_of_all(epsilon, out, x):
    rows = Pair(*(part.flatten() for part in x))
    return RULES[aten.median.dim](epsilon, rows.primal.median(0), rows, 0)[0]


def ranks(epsilon: float, x: Pair, dim: int) -> Tensor:
    """The integer rank along ``dim`` of each value at w; equal values share one.

    Values at w are compared as sums high + low without rounding error (Knuth's two-sum), so that an operator that is
    given the ranks orders exactly as differences demand, with its own convention at ties.
    """
    a, step = x.primal.detach(), epsilon * x.difference.detach()
    high = a + step
    moved = high - a
    low = torch.where(high.isfinite(), (a - (high - moved)) + (step - moved), 0)
    order = low.argsort(dim=dim, stable=True)
    order = order.gather(dim, high.gather(dim, order).argsort(dim=dim, stable=True))
    high, low = high.gather(dim, order), low.gather(dim, order)
    length = a.shape[dim] - 1 if a.dim() else 0
    larger = [part.narrow(dim, 1, length) != part.narrow(dim, 0, length) for part in (high, low)]
    steps = torch.zeros_like(order)
    steps.narrow(dim, 1, length).copy_(larger[0] | larger[1])
    return torch.empty_like(order).scatter_(dim, order, steps.cumsum(dim))
