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


#: These update the running statistics that are their arguments 3 and 4, if argument 5 (training) is set.
IN_PLACE = (
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
    aten.miopen_batch_norm,
    aten._native_batch_norm_legit.default,
)


@rule(*IN_PLACE)
def batch_norm(epsilon, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """Running statistics are pairs whose two parts are updated in place, each with its own average over the batch.

    Returns (Pair, None, None): the statistics that torch saves serve its own backward alone.
    """
    out = _normalised(epsilon, x, weight, bias, None if training else running_mean, running_var, eta)
    if training and running_mean is not None:
        updated = _updated_running(epsilon, x, running_mean, running_var, momentum)
        for running, new in zip((running_mean, running_var), updated, strict=True):
            for part, average in zip(as_pair(running), new, strict=True):
                part.copy_(average)
    return out, None, None


@rule(aten._native_batch_norm_legit_functional)
def batch_norm_functional(epsilon, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """As batch_norm, with the updated statistics as fourth and fifth result."""
    out = _normalised(epsilon, x, weight, bias, None if training else running_mean, running_var, eta)
    updated = (running_mean, running_var)
    if training:
        updated = _updated_running(epsilon, x, running_mean, running_var, momentum)
    return out, None, None, *updated


@rule(aten._native_batch_norm_legit_no_training)
def batch_norm_evaluation(epsilon, x, weight, bias, running_mean, running_var, momentum, eta):
    """As batch_norm in evaluation mode."""
    return _normalised(epsilon, x, weight, bias, running_mean, running_var, eta), None, None


@rule(aten._native_batch_norm_legit.no_stats)
def batch_norm_without_statistics(epsilon, x, weight, bias, training, momentum, eta):
    """As batch_norm in training mode, where there are no running statistics."""
    return _normalised(epsilon, x, weight, bias, None, None, eta), None, None


def _normalised(epsilon, x, weight, bias, mean, variance, eta) -> Pair:
    """With the statistics of the batch where ``mean`` is None, else with those given."""
    of_batch = mean is None
    shape, dims = _channelwise(x)

    def function(x, weight, bias, *statistics):
        return F.batch_norm(x, *(statistics or (None, None)), weight, bias, of_batch, 0.0, eta)

    def formula(epsilon, x, weight, bias, *statistics):
        x, *channels = map(as_pair, (x, weight, bias, *statistics))
        weight, bias, *statistics = (t and Pair(*(part.reshape(shape) for part in t)) for t in channels)
        mean, variance = moments(epsilon, x, dims) if of_batch else statistics
        return affine(epsilon, standardise(epsilon, x, mean, variance, eta), weight, bias)

    arguments = (x, weight, bias) if of_batch else (x, weight, bias, mean, variance)
    return Pair(function(*map(primal, arguments)), apply(formula, function, epsilon, *arguments))


@torch.no_grad()
def _updated_running(epsilon, x, running_mean, running_var, momentum) -> tuple[Pair, Pair]:
    """(1 - momentum) times the old plus momentum times the batch's mean and unbiased variance, on pairs."""
    _, dims = _channelwise(x)
    n = primal(x).numel() / primal(x).shape[1]
    mean, variance = moments(epsilon, as_pair(x), dims)
    unbiased = Pair(*(t * (n / (n - 1)) for t in variance))
    return tuple(
        Pair(*(t.lerp(b.flatten().to(t.dtype), momentum) for t, b in zip(as_pair(running), batch, strict=True)))
        for running, batch in ((running_mean, mean), (running_var, unbiased))
    )


def _channelwise(x) -> tuple[tuple, list]:
    """The shape in which a per-channel vector meets ``x``, and the dimensions that are averaged over."""
    dims = primal(x).dim()
    return (-1,) + (1,) * (dims - 2), [i for i in range(dims) if i != 1]


@rule(aten.native_layer_norm)
def layer_norm(epsilon, x, shape, weight, bias, eta):
    """Returns (Pair, None, None), as batch_norm does."""

    def function(x, weight, bias):
        return F.layer_norm(x, shape, weight, bias, eta)

    def formula(epsilon, x, weight, bias):
        x, weight, bias = map(as_pair, (x, weight, bias))
        mean, variance = moments(epsilon, x, list(range(-len(shape), 0)))
        return affine(epsilon, standardise(epsilon, x, mean, variance, eta), weight, bias)

    return (
        Pair(function(*map(primal, (x, weight, bias))), apply(formula, function, epsilon, x, weight, bias)),
        None,
        None,
    )
