"""Softmax, log-softmax and logsumexp over one dimension."""

import functools

import torch

from .pair import Pair, apply, rule
from .pointwise import exp, scaled_by

aten = torch.ops.aten


def _centered(epsilon, x, dim, logarithm):
    """The mean m = sum_j s_j d_j, d - m, and the difference of logsumexp for d - m, where log s = log_softmax(a).

    By convexity sum_j s_j exp(eps (d_j - m)) = 1 + eps T has T >= 0, so log1p(eps T) / eps, T the sum of the
    exponentials' differences, never cancels; above eps T = 1 it may overflow, and logsumexp(log s + eps (d - m)) / eps
    does not.
    """
    mean = (logarithm.exp() * x.difference).sum(dim, keepdim=True)
    centered = Pair(logarithm, x.difference - mean)
    growth = exp(epsilon, centered).sum(dim, keepdim=True)
    rest = scaled_by(epsilon, torch.log1p, growth)
    if epsilon > 0:
        far = torch.logsumexp(centered.value(epsilon), dim, keepdim=True) / epsilon
        rest = torch.where(epsilon * growth <= 1, rest, far)
    return mean, centered.difference, rest


def logsumexp_difference(epsilon, x, dim, keepdim=False):
    """m + log(1 + T) / eps."""
    shifted = x.primal - x.primal.amax(dim, keepdim=True)
    logarithm = shifted - torch.logsumexp(shifted, dim, keepdim=True)  # over several dimensions, perhaps
    mean, _, rest = _centered(epsilon, x, dim, logarithm)
    result = mean + rest
    return result if keepdim else result.squeeze(dim)


def log_softmax_difference(epsilon, x, dim):
    """d - m - log(1 + T) / eps."""
    _, d, rest = _centered(epsilon, x, dim, torch.log_softmax(x.primal, dim))
    return d - rest


def softmax_difference(epsilon, x, dim):
    """The exponential of log-softmax."""
    return exp(epsilon, Pair(torch.log_softmax(x.primal, dim), log_softmax_difference(epsilon, x, dim)))


@rule(aten.logsumexp)
def logsumexp(epsilon, out, x, dim, keepdim=False):
    function = functools.partial(torch.logsumexp, dim=dim, keepdim=keepdim)
    return apply(functools.partial(logsumexp_difference, dim=dim, keepdim=keepdim), function, epsilon, x)


@rule(aten._log_softmax)
def log_softmax(epsilon, out, x, dim, half_to_float):
    function = functools.partial(aten._log_softmax, dim=dim, half_to_float=half_to_float)
    return apply(functools.partial(log_softmax_difference, dim=dim), function, epsilon, x)


@rule(aten._softmax)
def softmax(epsilon, out, x, dim, half_to_float):
    function = functools.partial(aten._softmax, dim=dim, half_to_float=half_to_float)
    return apply(functools.partial(softmax_difference, dim=dim), function, epsilon, x)
