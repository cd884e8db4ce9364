"""Batch normalisation, with the statistics of the batch or running ones, which training updates as pairs."""

import torch

from ..transforms import active
from .function import Function, add_product, once_differentiable
from .pair import Pair, as_pair, difference, rule
from .standardisation import from_moments, wide

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
    result, moments = _normalised(epsilon, x, weight, bias, running_mean, running_var, training, eta, out)
    if training:
        for running, moment in zip((running_mean, running_var), moments, strict=True):
            if isinstance(running, Pair):
                running.difference.lerp_(moment.to(running.difference.dtype), momentum)
    return (result,) + (None,) * (len(out) - 1)


@rule(aten._native_batch_norm_legit_functional)
def batch_norm_functional(epsilon, out, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """As batch_norm, with the updated statistics as fourth and fifth result."""
    result, moments = _normalised(epsilon, x, weight, bias, running_mean, running_var, training, eta, out)
    new = tuple(map(difference, (running_mean, running_var)))
    if training:
        old = [as_pair(t).difference for t in (running_mean, running_var)]
        new = tuple(o.lerp(m.to(o.dtype), momentum) for o, m in zip(old, moments, strict=True))
    return result, None, None, *new


@rule(aten._native_batch_norm_legit_no_training)
def batch_norm_evaluation(epsilon, out, x, weight, bias, running_mean, running_var, momentum, eta):
    """As batch_norm in evaluation mode."""
    return _normalised(epsilon, x, weight, bias, running_mean, running_var, False, eta, out)[0], None, None


@rule(aten._native_batch_norm_legit.no_stats)
def batch_norm_without_statistics(epsilon, out, x, weight, bias, training, momentum, eta):
    """As batch_norm in training mode, where there are no running statistics."""
    return _normalised(epsilon, x, weight, bias, None, None, True, eta, out)[0], None, None


def _normalised(epsilon, x, weight, bias, running_mean, running_var, training, eta, out):
    """The output's difference, and those of the batch's mean and unbiased variance."""
    vectors = *(as_pair(weight) or (None, None)), difference(bias)
    if training:
        result, *moments = _OfBatch.apply(epsilon, eta, *as_pair(x), *vectors, *out[1:3])
        return result, moments
    given = (part for t in (running_mean, running_var) for part in as_pair(t))
    return _OfRunning.apply(epsilon, eta, *as_pair(x), *vectors, *given), ()


class _BatchNorm(Function):
    """Functions of (epsilon, eta, a, d, w, dw, db, statistics at w_0), whose backward pass is torch's own at w.

    dy = dz w_1 + z dw + db, where z is x standardised at w_0, is put together as d' scale + a slope + shift with one
    number of each for a channel. Short types are computed with in float32.
    """

    @staticmethod
    def save(ctx, epsilon, eta, a, d, weight, of_batch: bool, mean, spread):
        """``spread`` is the batch's reciprocal standard deviation or the running variance; both are at w."""
        ctx.eta, ctx.of_batch = eta, of_batch
        ctx.save_for_backward(Pair(a, d).value(epsilon), weight, mean, spread)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        x, *channels = ctx.saved_tensors
        mask = [ctx.needs_input_grad[i] for i in (3, 5, 6)]
        dx, dw, db = _gradients(wide(gradient), wide(x), *channels, ctx.of_batch, ctx.eta, mask)
        dx = None if dx is None else dx.to(gradient.dtype)
        return (None, None, None, dx, None, dw, db) + (None,) * (len(ctx.needs_input_grad) - 7)


class _OfBatch(_BatchNorm):
    """Statistics of the batch; returns dy, and the differences of its mean and of its unbiased variance.

    With q = mean(d z) torch's backward kernel, given d for the gradient, returns d' = r_0 (d - dmean - z q), n q and
    n dmean, and dz = d' r_1 / r_0 + z r_1 (q (r_0 - r_1) - eps var(d) r_0 r_1) / (r_0 + r_1).
    """

    @staticmethod
    def forward(ctx, epsilon, eta, a, d, w, dw, db, mean, r0):
        result_type, start, move = a.dtype, a, d
        a, d, w, dw, db, mean, r0 = map(wide, (a, d, w, dw, db, mean, r0))
        n, channels = a.numel() // len(mean), [i for i in range(a.dim()) if i != 1]
        centered, along, total = _gradients(d, a, None, mean, r0, True, eta, [True, True, True])
        spread = torch.var(d, channels, correction=0).mul_(epsilon)
        dvariance = torch.addcdiv(spread, along, r0, value=2 / n)
        r1 = torch.pow(r0, -2).add_(dvariance, alpha=epsilon).clamp_min_(eta).rsqrt_()
        slope = (r0 - r1).mul_(along / n).sub_(spread * r0 * r1).mul_(r1).div_(r0 + r1)
        scale = r1 / r0
        w_1 = None
        if w is not None:
            w_1 = Pair(w, dw).value(epsilon)
            scale, slope = scale * w_1, torch.addcmul(dw, slope, w_1)
        _BatchNorm.save(ctx, epsilon, eta, start, move, w_1, True, torch.add(mean, total, alpha=epsilon / n), r1)
        slope = slope * r0
        result = _combined(a, slope, centered, scale, mean * -slope, db).to(result_type)
        moments = total / n, dvariance.mul_(n / max(n - 1, 1))
        ctx.mark_non_differentiable(*moments)
        return result, *moments


class _OfRunning(_BatchNorm):
    """Running statistics: dz = (d - dmean) r_1 + z dr / r_0."""

    @staticmethod
    def forward(ctx, epsilon, eta, a, d, w, dw, db, mean, dmean, variance, dvariance):
        result_type, start, move = a.dtype, a, d
        a, d, w, dw, db = map(wide, (a, d, w, dw, db))
        mean, dmean, variance, dvariance = map(wide, (mean, dmean, variance, dvariance))
        at_w = from_moments(epsilon, mean, (variance + eta).rsqrt(), dmean, dvariance, eta)
        scale, slope, w_1 = at_w.reciprocal_1, at_w.reciprocal_difference, None
        if w is not None:
            w_1 = Pair(w, dw).value(epsilon)
            scale, slope = scale * w_1, torch.addcmul(slope * w_1, dw, at_w.reciprocal_0)
        running = at_w.mean_1, at_w.reciprocal_1**-2 - eta
        _BatchNorm.save(ctx, epsilon, eta, start, move, w_1, False, *running)
        shift = torch.addcmul(dmean * -scale, mean, slope, value=-1)
        return _combined(a, slope, d, scale, shift, db).to(result_type)


def _gradients(gradient, x, weight, mean, spread, of_batch: bool, eta: float, mask: list[bool]):
    """Torch's, in x, weight and bias; its operator is not for transforms. ``spread`` as in :meth:`_BatchNorm.save`."""
    if not active():
        given = (None, None, mean, spread) if of_batch else (mean, spread, None, None)
        return aten.native_batch_norm_backward(_laid_out(gradient, x), x, weight, *given, of_batch, eta, mask)
    channel, dims = (-1,) + (1,) * (x.dim() - 2), [i for i in range(x.dim()) if i != 1]
    reciprocal = (spread if of_batch else (spread + eta).rsqrt()).view(channel)
    z = (x - mean.view(channel)) * reciprocal
    dw, db = (gradient * z).sum(dims), gradient.sum(dims)
    n = x.numel() // x.shape[1]
    centered = gradient - (db.view(channel) + z * dw.view(channel)) / n if of_batch else gradient
    return centered * (reciprocal if weight is None else reciprocal * weight.view(channel)), dw, db


def _combined(a, slope, d, scale, shift, db):
    """a slope + d scale + shift + db; vectors have one number for each channel."""
    channel = (-1,) + (1,) * (a.dim() - 2)
    shift = shift if db is None else shift + db
    slope, scale, shift = (vector.view(channel) for vector in (slope, scale, shift))
    return add_product(torch.addcmul(shift, a, slope), d, scale)


def _laid_out(t, like):
    """In the memory format of another tensor, as the kernels want it."""
    last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)
    return t.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
