"""Batch and layer normalisation, composed of mean, product and reciprocal square root on pairs."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .pair import Pair, apply, as_pair, primal, rule
from .pointwise import rsqrt_difference

aten = torch.ops.aten


def moments(epsilon, x: Pair, dims) -> tuple[Pair, Pair]:
    """Mean and biased variance over ``dims``, kept as 1: D_eps of the variance is mean(dc (2 c + eps dc))."""
    mean = Pair(*(t.mean(dims, keepdim=True) for t in x))
    c, dc = x.primal - mean.primal, x.difference - mean.difference
    return mean, Pair((c * c).mean(dims, keepdim=True), (dc * (2 * c + epsilon * dc)).mean(dims, keepdim=True))


def standardise(epsilon, x: Pair, mean: Pair, variance: Pair, eta: float) -> Pair:
    """(x - mean) / sqrt(variance + eta)."""
    c, dc = x.primal - mean.primal, x.difference - mean.difference
    v = Pair(variance.primal + eta, variance.difference)
    return Pair(c * v.primal.rsqrt(), dc * v.value(epsilon).rsqrt() + c * rsqrt_difference(epsilon, v))


def affine(epsilon, z: Pair, weight: Pair | None, bias: Pair | None) -> Tensor:
    """The divided difference of z weight + bias."""
    d = z.difference
    if weight is not None:
        d = d * weight.value(epsilon) + z.primal * weight.difference
    return d if bias is None else d + bias.difference


@rule(aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm)
def batch_norm(epsilon, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """Running statistics are pairs whose two parts are updated in place, each with its own average over the batch.

    Returns (Pair, None, None): the statistics that torch saves serve its own backward alone.
    """
    shape = (-1,) + (1,) * (primal(x).dim() - 2)
    dims = [i for i in range(primal(x).dim()) if i != 1]

    if training:
        if running_mean is not None:
            _update_running(epsilon, as_pair(x), as_pair(running_mean), as_pair(running_var), dims, momentum)

        def function(x, weight, bias, mean, variance):
            return F.batch_norm(x, None, None, weight, bias, True, 0.0, eta)
    else:

        def function(x, weight, bias, mean, variance):
            return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eta)

    def formula(epsilon, x, weight, bias, mean, variance):
        x, weight, bias, mean, variance = map(as_pair, (x, weight, bias, mean, variance))
        weight, bias, mean, variance = (_reshape(t, shape) for t in (weight, bias, mean, variance))
        if training:
            mean, variance = moments(epsilon, x, dims)
        return affine(epsilon, standardise(epsilon, x, mean, variance, eta), weight, bias)

    arguments = (x, weight, bias) + ((None, None) if training else (running_mean, running_var))
    return Pair(function(*map(primal, arguments)), apply(formula, function, epsilon, *arguments)), None, None


@torch.no_grad()
def _update_running(epsilon, x: Pair, running_mean: Pair, running_var: Pair, dims, momentum):
    mean, variance = moments(epsilon, x, dims)
    n = x.primal.numel() / x.primal.shape[1]
    for running, new, scale in ((running_mean, mean, 1.0), (running_var, variance, n / (n - 1))):
        for part, average in zip(running, new, strict=True):
            part.lerp_(scale * average.flatten().to(part.dtype), momentum)


def _reshape(x: Pair | None, shape) -> Pair | None:
    return None if x is None else Pair(*(t.reshape(shape) for t in x))


@rule(aten.native_layer_norm)
def layer_norm(epsilon, x, shape, weight, bias, eta):
    """Returns (Pair, None, None), as batch_norm does."""

    def function(x, weight, bias):
        return F.layer_norm(x, shape, weight, bias, eta)

    def formula(epsilon, x, weight, bias):
        x, weight, bias = map(as_pair, (x, weight, bias))
        mean, variance = moments(epsilon, x, list(range(-len(shape), 0)))
        return affine(epsilon, standardise(epsilon, x, mean, variance, eta), weight, bias)

    return Pair(function(*map(primal, (x, weight, bias))), apply(formula, function, epsilon, x, weight, bias)), None, None
