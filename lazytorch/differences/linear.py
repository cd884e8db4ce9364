"""Linear maps: the divided difference of L(x) is L applied to the divided difference of x."""

import torch

from .pair import Pair, as_pair, continuous, difference, is_continuous, rule

aten = torch.ops.aten

#: Linear in their first argument, all other arguments being constants.
LINEAR = (
    aten._adaptive_avg_pool2d,
    aten._reshape_alias,
    aten._to_copy,
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
    aten.reshape,
    aten.select,
    aten.slice,
    aten.squeeze,
    aten.sum,
    aten.t,
    aten.transpose,
    aten.unsqueeze,
)


def _linear(operator):
    def apply_to_difference(epsilon, out, x, *args, **kwargs):
        if not is_continuous(out):  # a cast to integers
            return operator(x.value(epsilon), *args, **kwargs)
        return operator(x.difference, *args, **kwargs)

    return apply_to_difference


for _operator in LINEAR:
    rule(_operator)(_linear(_operator))


@rule(aten.add)
def add(epsilon, out, left, right, *, alpha=1):
    return _sum(epsilon, out, left, right, alpha)


@rule(aten.sub)
def subtract(epsilon, out, left, right, *, alpha=1):
    return _sum(epsilon, out, left, right, -alpha)


@rule(aten.rsub)
def subtract_from(epsilon, out, left, right, alpha=1):
    return _sum(epsilon, out, right, left, -alpha)


def _sum(epsilon, out, left, right, alpha):
    du, dv = (difference(continuous(t, epsilon, out.dtype)) for t in (left, right))
    if du is None:
        return (alpha * dv).expand_as(out)
    if dv is None:
        return du.expand_as(out)
    return torch.add(du, dv, alpha=alpha)


@rule(aten.cat)
def concatenate(epsilon, out, tensors, dim=0):
    return torch.cat([as_pair(t).difference for t in tensors], dim)


@rule(aten.constant_pad_nd)
def pad(epsilon, out, x, padding, value=0):
    return aten.constant_pad_nd(x.difference, padding, 0)


@rule(aten.copy)
def copy(epsilon, out, target, source, non_blocking=False):
    """The source, cast to the target's type and shape."""
    if not isinstance(source, Pair):
        return None
    return source.difference.to(out.dtype).expand_as(out).clone()


@rule(aten.copy_)
def copy_(epsilon, out, target, source):
    """A buffer that the module updates; a counter has no difference."""
    if isinstance(target, Pair):
        target.difference.copy_(0 if difference(source) is None else source.difference.detach())
