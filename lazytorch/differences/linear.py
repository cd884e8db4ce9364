"""Linear maps: the divided difference of L(x) is L applied to the divided difference of x."""

import torch

from .pair import Pair, difference, primal, rule

aten = torch.ops.aten

#: Linear in their first argument, all other arguments being constants.
LINEAR = (
    aten._adaptive_avg_pool2d,
    aten._reshape_alias,
    aten._to_copy,
    aten._unsafe_view,
    aten.alias,
    aten.avg_pool2d,
    aten.clone,
    aten.detach,
    aten.expand,
    aten.flip,
    aten.lift_fresh_copy,
    aten.mean,
    aten.neg,
    aten.permute,
    aten.select,
    aten.slice,
    aten.squeeze,
    aten.sum,
    aten.t,
    aten.transpose,
    aten.unsqueeze,
    aten.view,
)


def _linear(operator):
    def apply_to_both(epsilon, x, *args, **kwargs):
        return Pair(operator(x.primal, *args, **kwargs), operator(x.difference, *args, **kwargs))

    return apply_to_both


for _operator in LINEAR:
    rule(_operator)(_linear(_operator))


@rule(aten.add)
def add(epsilon, left, right, *, alpha=1):
    return _sum(left, right, alpha)


@rule(aten.sub)
def subtract(epsilon, left, right, *, alpha=1):
    return _sum(left, right, -alpha)


def _sum(left, right, alpha):
    u, v, du, dv = primal(left), primal(right), difference(left), difference(right)
    out = u + alpha * v
    if du is None:
        return Pair(out, (alpha * dv).expand_as(out))
    if dv is None:
        return Pair(out, du.expand_as(out))
    return Pair(out, torch.add(du, dv, alpha=alpha))


@rule(aten.cat)
def concatenate(epsilon, tensors, dim=0):
    differences = [torch.zeros_like(primal(t)) if difference(t) is None else t.difference for t in tensors]
    return Pair(torch.cat([primal(t) for t in tensors], dim), torch.cat(differences, dim))


@rule(aten.constant_pad_nd)
def pad(epsilon, x, padding, value=0):
    return Pair(aten.constant_pad_nd(x.primal, padding, value), aten.constant_pad_nd(x.difference, padding, 0))


@rule(aten.copy)
def copy(epsilon, target, source, non_blocking=False):
    """The source, cast to the target's type and shape."""
    return _broadcast(source, primal(target))


def _broadcast(source, like):
    parts = (t.to(like.dtype).expand_as(like).clone() for t in (source if isinstance(source, Pair) else (source,)))
    return Pair(*parts) if isinstance(source, Pair) else next(parts)


@rule(aten.copy_)
def copy_(epsilon, target, source):
    """A buffer that the module updates: both parts of the pair are overwritten."""
    target.primal.copy_(primal(source))
    target.difference.copy_(0 if difference(source) is None else source.difference.detach())
    return target
