"""Batch normalisation, with the statistics of the batch or running ones, which training updates as pairs."""

import torch

from ..transforms import active
from .function import Function, once_differentiable
from .pair import Pair, as_pair, difference, primal, rule
from .standardisation import from_moments, of_sample

aten = torch.ops.aten

#: These update the running statistics that are their arguments 3 and 4, if argument 5 (training) is set.
IN_PLACE = (
    aten.native_batch_norm,
    aten.cudnn_batch_norm,
    aten.miopen_batch_norm,
    aten._native_batch_norm_legit.default,
)


@rule(*IN_PLACE)
def batch_norm(epsilon, out, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """The operator updates the running statistics at w_0, this rule their differences."""
    result, new = _normalised(epsilon, x, weight, bias, running_mean, running_var, training, momentum, eta)
    for running, moved in zip((running_mean, running_var), new, strict=True):
        if isinstance(running, Pair):
            running.difference.copy_(moved)
    return (result,) + (None,) * (len(out) - 1)


@rule(aten._native_batch_norm_legit_functional)
def batch_norm_functional(epsilon, out, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """As batch_norm, with the updated statistics as fourth and fifth result."""
    result, new = _normalised(epsilon, x, weight, bias, running_mean, running_var, training, momentum, eta)
    return result, None, None, *new


@rule(aten._native_batch_norm_legit_no_training)
def batch_norm_evaluation(epsilon, out, x, weight, bias, running_mean, running_var, momentum, eta):
    """As batch_norm in evaluation mode."""
    return _normalised(epsilon, x, weight, bias, running_mean, running_var, False, momentum, eta)[0], None, None


@rule(aten._native_batch_norm_legit.no_stats)
def batch_norm_without_statistics(epsilon, out, x, weight, bias, training, momentum, eta):
    """As batch_norm in training mode, where there are no running statistics."""
    return _normalised(epsilon, x, weight, bias, None, None, True, momentum, eta)[0], None, None


def _normalised(epsilon, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """The output's difference, and those of the running statistics after the update."""
    running = (running_mean, running_var)
    channel = (1, -1) + (1,) * (primal(x).dim() - 2)
    vectors = [None if t is None else Pair(*(part.reshape(channel) for part in as_pair(t))) for t in (weight, bias)]
    given = [] if training else [part.reshape(channel) for t in running for part in as_pair(t)]
    w, b = (pair or (None, None) for pair in vectors)
    result, *moments = _BatchNorm.apply(epsilon, eta, *as_pair(x), *w, b[1], *given)
    new = tuple(map(difference, running))
    if training and running_mean is not None:
        n = primal(x).numel() // primal(x).shape[1]
        moments[1] = moments[1] * (n / (n - 1))  # the running variance is unbiased
        old = (as_pair(t).difference for t in running)
        new = tuple(o.lerp(m.flatten().to(o.dtype), momentum) for o, m in zip(old, moments, strict=True))
    return result, new


class _BatchNorm(Function):
    """dy = dx r_1 w_1 + z (w_1 dr / r_0 + dw) + db - dmean r_1 w_1, where z is x standardised at w_0.

    ``given`` is mean, its difference, variance, its difference; without it they are the batch's. Returns dy, and the
    differences of mean and variance. Everything per channel has the shape that meets x. The backward pass is torch's.
    """

    @staticmethod
    def forward(ctx, epsilon, eta, a, d, w, dw, db, *given):
        dims = [i for i in range(a.dim()) if i != 1]
        if given:
            mean, dmean, variance, dvariance = given
            reciprocal = (variance + eta).rsqrt()
            z = (a - mean) * reciprocal
            statistics = from_moments(epsilon, mean, reciprocal, dmean, dvariance, eta)
        else:
            variance, mean = torch.var_mean(a, dims, correction=0, keepdim=True)
            reciprocal = (variance + eta).rsqrt()
            z = (a - mean) * reciprocal
            statistics = of_sample(epsilon, d, z, mean, reciprocal, eta, dims)
        w_1 = torch.ones_like(reciprocal) if w is None else Pair(w, dw).value(epsilon)
        scale = w_1 * statistics.reciprocal_1
        slope = w_1 * statistics.reciprocal_difference / reciprocal
        shift = -statistics.mean_difference * scale
        slope, shift = (slope if w is None else slope + dw), (shift if db is None else shift + db)
        ctx.eta, ctx.of_batch = eta, not given
        ctx.save_for_backward(Pair(a, d).value(epsilon), w_1, statistics.mean_1, statistics.reciprocal_1)
        moments = statistics.mean_difference, statistics.variance_difference
        ctx.mark_non_differentiable(*moments)
        add = torch.addcmul if active() else torch.Tensor.addcmul_
        return add(torch.addcmul(shift, z, slope), d, scale).to(a.dtype), *moments

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        x, *channels = ctx.saved_tensors
        weight, mean, reciprocal = (t.flatten() for t in channels)
        if active():
            return _gradients(gradient, x, *channels, ctx.of_batch, len(ctx.needs_input_grad))
        # In evaluation torch takes running statistics, with the variance for the reciprocal standard deviation.
        running = (None, None) if ctx.of_batch else (mean, reciprocal**-2 - ctx.eta)
        saved = (mean, reciprocal) if ctx.of_batch else (None, None)
        mask = [ctx.needs_input_grad[i] for i in (3, 5, 6)]
        dx, dw, db = aten.native_batch_norm_backward(
            gradient.contiguous(), x, weight, *running, *saved, ctx.of_batch, ctx.eta, mask
        )
        dw, db = (None if t is None else t.reshape(channels[0].shape) for t in (dw, db))
        return (None, None, None, dx, None, dw, db) + (None,) * (len(ctx.needs_input_grad) - 7)


def _gradients(gradient, x, weight, mean, reciprocal, of_batch: bool, count: int):
    """Those of torch, whose operator torch's own transforms do not take."""
    dims = [i for i in range(x.dim()) if i != 1]
    z = (x - mean) * reciprocal
    dw, db = (gradient * z).sum(dims, keepdim=True), gradient.sum(dims, keepdim=True)
    n = x.numel() // x.shape[1]
    centered = gradient - (db + z * dw) / n if of_batch else gradient
    return (None, None, None, centered * weight * reciprocal, None, dw, db) + (None,) * (count - 7)
