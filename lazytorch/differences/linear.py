"""Linear maps: the divided difference of L(x) is L applied to the divided difference of x."""

import torch

from .pair import Pair, UnsupportedOperator, difference, primal, rule

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
    aten.select,
    aten.slice,
    aten.squeeze,
    aten.sum,
    aten.t,
    aten.transpose,
    aten.unsqueeze,
)


def _linear(operator):
    def apply_to_both(epsilon, x, *args, **kwargs):
        out = operator(x.primal, *args, **kwargs)
        if not out.is_floating_point():
            return constant_integers(epsilon, operator, out)
        return Pair(out, operator(x.difference, *args, **kwargs))

    return apply_to_both


def constant_integers(epsilon, operator, out):
    """A rounding to integers: its derivative is 0, its divided difference has no rule."""
    if epsilon > 0:
        raise UnsupportedOperator(
            f"operator {operator} rounds what depends on theta to {out.dtype}, which has no divided-difference rule at "
            f'finite alpha: wrap with difference="direct" in float64'
        )
    return out


@rule(aten.view, aten._unsafe_view)
def view(epsilon, x, shape):
    """The difference may have other strides than the traced value, as a broadcast parameter's has."""
    return Pair(x.primal.reshape(shape), x.difference.reshape(shape))


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


@rule(aten.rsub)
def subtract_from(epsilon, left, right, alpha=1):
    return _sum(right, left, -alpha)


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
    like = primal(target)
    out = primal(source).to(like.dtype).expand_as(like).clone()
    if not isinstance(source, Pair):
        return out
    if not like.is_floating_point():
        return constant_integers(epsilon, aten.copy, out)
    return Pair(out, source.difference.to(like.dtype).expand_as(like).clone())


@rule(aten.copy_)
def copy_(epsilon, target, source):
    """A buffer that the module updates: both parts of the pair are overwritten."""
    if not isinstance(target, Pair):  # a counter
        return target.copy_(primal(source))
    target.primal.copy_(primal(source))
    target.difference.copy_(0 if difference(source) is None else source.difference.detach())
    return target
