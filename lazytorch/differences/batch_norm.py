"""Batch normalisation, with the statistics of the batch or running ones, which training updates as pairs."""

import torch

from ..transforms import active
from .function import Function, add_product, once_differentiable
from .pair import Pair, as_pair, difference, rule
from .running_statistics import Batch, update, update_at_once
from .standardisation import between, vectors, wide

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
    result, batch = _normalised(epsilon, x, weight, bias, running_mean, running_var, training, eta, out)
    if batch is not None and (isinstance(running_mean, Pair) or isinstance(running_var, Pair)):
        update(as_pair(running_mean).difference, as_pair(running_var).difference, momentum, batch)
    return (result,) + (None,) * (len(out) - 1)


@rule(aten._native_batch_norm_legit_functional)
def batch_norm_functional(epsilon, out, x, weight, bias, running_mean, running_var, training, momentum, eta):
    """As batch_norm, with the updated statistics as fourth and fifth result."""
    result, batch = _normalised(epsilon, x, weight, bias, running_mean, running_var, training, eta, out)
    if batch is None:
        return result, None, None, *map(difference, (running_mean, running_var))
    mean, variance = (as_pair(t).difference.clone() for t in (running_mean, running_var))
    update_at_once(mean, variance, momentum, batch)
    return result, None, None, mean, variance


@rule(aten._native_batch_norm_legit_no_training)
def batch_norm_evaluation(epsilon, out, x, weight, bias, running_mean, running_var, momentum, eta):
    """As batch_norm in evaluation mode."""
    return _normalised(epsilon, x, weight, bias, running_mean, running_var, False, eta, out)[0], None, None


@rule(aten._native_batch_norm_legit.no_stats)
def batch_norm_without_statistics(epsilon, out, x, weight, bias, training, momentum, eta):
    """As batch_norm in training mode, where there are no running statistics."""
    return _normalised(epsilon, x, weight, bias, None, None, True, eta, out)[0], None, None


def _normalised(epsilon, x, weight, bias, running_mean, running_var, training, eta, out):
    """The output's difference, and what has been found of the batch, where its statistics are taken."""
    own = vectors(epsilon, weight, bias)
    if training:
        result, *found = _OfBatch.apply(epsilon, eta, *as_pair(x), *own, *out[1:3])
        return result, Batch(out[0].numel() // out[1].numel(), wide(out[2]), *found)
    given = (part for t in (running_mean, running_var) for part in as_pair(t))
    return _OfRunning.apply(epsilon, eta, *as_pair(x), *own, *given), None


class _BatchNorm(Function):
    """Functions of (epsilon, eta, a, d, w, dw, db, w_1, statistics at w_0), whose backward pass is torch's own at w.

    Below, z is x standardised. Short types are computed with in float32.
    """

    @staticmethod
    def save(ctx, eta, *at_w, of_batch: bool):
        """x, weight, mean and spread, which is the batch's reciprocal standard deviation or the running variance."""
        ctx.eta, ctx.of_batch = eta, of_batch
        ctx.save_for_backward(*at_w)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, *_):
        x, w, mean, spread = ctx.saved_tensors
        mask = [ctx.needs_input_grad[i] for i in (3, 5, 6)]
        dx, dw, db = _gradients(wide(gradient), wide(x), w, mean, spread, ctx.of_batch, ctx.eta, mask)
        dx = None if dx is None else dx.to(gradient.dtype)
        return (None, None, None, dx, None, dw, db) + (None,) * (len(ctx.needs_input_grad) - 7)


class _OfBatch(_BatchNorm):
    """Statistics of the batch; returns dy = dz w_0 + z_1 dw + db, and what else a :class:`Batch` has.

    Torch's kernels give z_1 dw + db together with the statistics at w, and dz w_0 as in :mod:`.standardisation`.
    """

    @staticmethod
    def forward(ctx, epsilon, eta, a, d, w, dw, db, w_1, mean, r0):
        x, result_type, channel = Pair(wide(a), wide(d)), a.dtype, (-1,) + (1,) * (a.dim() - 2)
        w, dw, db, mean, r0 = map(wide, (w, dw, db, mean, r0))

        def standardise(x, weight=None, bias=None):
            y, mean, r = aten.native_batch_norm(x, weight, bias, None, None, True, 0.0, eta)
            return y, mean.view(channel), r.view(channel)

        at_w = x.value(epsilon)
        moved, mean_1, r1 = standardise(at_w, dw, db)
        middle, *at_middle = between(epsilon, x, mean.view(channel), r0.view(channel), r1, standardise)
        mean_1, r1, mean, r, scale = (t.flatten() for t in (mean_1, r1, *at_middle))
        scale = scale if w is None else scale.mul_(w)
        result, along, total = _gradients(x.difference, middle, scale, mean, r, True, eta, [True, True, True])
        if w is not None:
            result = moved.add_(result)
        _BatchNorm.save(ctx, eta, at_w.to(result_type), wide(w_1), mean_1, r1, of_batch=True)
        found = total, along, r, r1
        ctx.mark_non_differentiable(*found)
        ctx.set_materialize_grads(False)
        return result.to(result_type), *found


class _OfRunning(_BatchNorm):
    """Running statistics: dy = dz w_1 + z_0 dw + db, with dz = (d - dmean) r_1 + (a - mean) dr."""

    @staticmethod
    def forward(ctx, epsilon, eta, a, d, w, dw, db, w_1, mean, dmean, variance, dvariance):
        at_w, result_type = Pair(a, d).value(epsilon), a.dtype
        a, d, w, dw, db, w_1 = map(wide, (a, d, w, dw, db, w_1))
        mean, dmean, variance, dvariance = map(wide, (mean, dmean, variance, dvariance))
        variance_1 = Pair(variance, dvariance).value(epsilon).clamp_min(0)
        r0, r1 = ((v + eta).rsqrt_() for v in (variance, variance_1))
        scale, slope = r1, -dvariance * (r0 * r1) ** 2 / (r0 + r1)
        if w is not None:
            scale, slope = scale * w_1, torch.addcmul(slope * w_1, dw, r0)
        _BatchNorm.save(ctx, eta, at_w, w_1, Pair(mean, dmean).value(epsilon), variance_1, of_batch=False)
        shift = torch.addcmul(dmean * -scale, mean, slope, value=-1)
        channel = (-1,) + (1,) * (a.dim() - 2)
        slope, scale, shift = (t.view(channel) for t in (slope, scale, shift if db is None else shift + db))
        return add_product(torch.addcmul(shift, a, slope), d, scale).to(result_type)


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


def _laid_out(t, like):
    """In the memory format of another tensor, as the kernels want it."""
    last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)
    return t.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
