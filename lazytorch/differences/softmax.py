"""Softmax and log-softmax over one dimension."""

import functools

import torch

from .pair import apply, rule
from .pointwise import exprel

aten = torch.ops.aten


def _shifted(epsilon, x, dim):
    """The pair with the largest d subtracted (the result does not change), and where |eps d| <= 1 along ``dim``."""
    d = x.difference - x.difference.amax(dim, keepdim=True)
    near = ((epsilon * d).abs() <= 1).all(dim, keepdim=True)
    return d, near


def _mean_growth(epsilon, a, d, dim):
    """The relative growth e_j = expm1(eps d_j) / eps of each exponential, and its mean E = sum_j s_j e_j."""
    growth = d * exprel(epsilon * d)
    return growth, (torch.softmax(a, dim) * growth).sum(dim, keepdim=True)


def log_softmax_difference(epsilon, x, dim):
    """d - log1p(eps E) / eps where all |eps d| <= 1, the plain subtraction elsewhere."""
    d, near = _shifted(epsilon, x, dim)
    _, mean = _mean_growth(epsilon, x.primal, torch.where(near, d, 0), dim)
    if epsilon == 0:
        return d - mean
    moved = d - torch.log1p(epsilon * mean) / epsilon
    far = d - (torch.logsumexp(x.primal + epsilon * d, dim, True) - torch.logsumexp(x.primal, dim, True)) / epsilon
    return torch.where(near, moved, far)


def softmax_difference(epsilon, x, dim):
    """s (e - E) / (1 + eps E) where all |eps d| <= 1, the plain subtraction elsewhere."""
    d, near = _shifted(epsilon, x, dim)
    growth, mean = _mean_growth(epsilon, x.primal, torch.where(near, d, 0), dim)
    weights = torch.softmax(x.primal, dim)
    moved = weights * (growth - mean) / (1 + epsilon * mean)
    if epsilon == 0:
        return moved
    return torch.where(near, moved, (torch.softmax(x.primal + epsilon * d, dim) - weights) / epsilon)


def _register(operator, formula):
    @rule(operator)
    def normalised(epsilon, out, x, dim, half_to_float=False):
        function = functools.partial(operator, dim=dim, half_to_float=half_to_float)
        return apply(functools.partial(formula, dim=dim), function, epsilon, x)


_register(aten._softmax.default, softmax_difference)
_register(aten._log_softmax.default, log_softmax_difference)
