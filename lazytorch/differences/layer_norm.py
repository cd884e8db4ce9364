"""Layer and group normalisation: rows standardised by their own mean and variance, then scaled and shifted."""

import functools

import torch
import torch.nn.functional as F

from .pair import Pair, apply, as_pair, rule
from .standardisation import of_sample

aten = torch.ops.aten


@rule(aten.native_layer_norm)
def layer_norm(epsilon, out, x, shape, weight, bias, eta):
    """A row is what the last dimensions, of the given shape, hold."""
    function = functools.partial(_layer_norm, shape=shape, eta=eta)
    formula = functools.partial(_difference, rows=len(shape), eta=eta)
    return apply(formula, function, epsilon, x, weight, bias), None, None


def _layer_norm(x, weight, bias, shape, eta):
    return F.layer_norm(x, shape, weight, bias, eta)


@rule(aten.native_group_norm)
def group_norm(epsilon, out, x, weight, bias, n, channels, positions, groups, eta):
    """A row is a group of channels of one example; weight and bias are per channel."""
    shape = out[0].shape

    def function(x, weight, bias):
        return F.group_norm(x.reshape(shape), groups, weight, bias, eta)

    def formula(epsilon, x, weight, bias):
        x = _reshaped(x, (n, groups, channels // groups, positions))
        weight, bias = (_reshaped(t, (groups, -1, 1)) for t in (weight, bias))
        return _difference(epsilon, x, weight, bias, rows=2, eta=eta).reshape(shape)

    return apply(formula, function, epsilon, x, weight, bias), None, None


def _reshaped(t, shape):
    return None if t is None else Pair(*(part.reshape(shape) for part in as_pair(t)))


def _difference(epsilon, x, weight, bias, rows: int, eta: float):
    """d(z w + b) = dz w_1 + z dw + db, with dz = (dx - dmean) r_1 + z dr / r_0; rows are the last dimensions."""
    a, d = as_pair(x)
    dims = list(range(-rows, 0))
    variance, mean = torch.var_mean(a, dims, correction=0, keepdim=True)
    reciprocal = (variance + eta).rsqrt()
    z = (a - mean) * reciprocal
    statistics = of_sample(epsilon, d, z, mean, reciprocal, eta, dims)
    dz = (d - statistics.mean_difference) * statistics.reciprocal_1
    dz = dz + z * (statistics.reciprocal_difference / reciprocal)
    weight, bias = as_pair(weight), as_pair(bias)
    if weight is not None:
        dz = dz * weight.value(epsilon) + z * weight.difference
    return dz if bias is None else dz + bias.difference
