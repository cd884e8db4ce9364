"""Layer and group normalisation: rows standardised by their own mean and variance, then scaled and shifted."""

import torch

from ..transforms import active
from .function import Function, add_product, once_differentiable
from .pair import Pair, as_pair, rule
from .standardisation import between, vectors, wide

aten = torch.ops.aten


@rule(aten.native_layer_norm)
def layer_norm(epsilon, out, x, shape, weight, bias, eta):
    """A row is what the last dimensions, of the given shape, hold."""

    def forward(x, weight=None, bias=None):
        return aten.native_layer_norm(x, shape, weight, bias, eta)

    def backward(gradient, x, mean, reciprocal, weight, mask):
        return aten.native_layer_norm_backward(gradient, x, shape, mean, reciprocal, weight, weight, mask)

    kernels = forward, _plain_gradients(list(range(-len(shape), 0))) if active() else backward
    return _row_norm(epsilon, kernels, x, weight, bias, *out[1:]), None, None


@rule(aten.native_group_norm)
def group_norm(epsilon, out, x, weight, bias, n, channels, positions, groups, eta):
    """A row is a group of channels of one example; weight and bias are per channel."""
    sizes = n, channels, positions, groups

    def flat(t):
        return None if t is None else t.flatten()

    def forward(x, weight=None, bias=None):
        channelwise = x.reshape(n, channels, positions)
        y, mean, reciprocal = aten.native_group_norm(channelwise, flat(weight), flat(bias), *sizes, eta)
        return y.view(x.shape), mean.view(n, groups, 1, 1), reciprocal.view(n, groups, 1, 1)

    def backward(gradient, x, mean, reciprocal, weight, mask):
        mean, reciprocal = mean.view(n, groups), reciprocal.view(n, groups)
        return aten.native_group_norm_backward(gradient, x, mean, reciprocal, flat(weight), *sizes, mask)

    x = _reshaped(x, (n, groups, channels // groups, positions))
    weight, bias = (_reshaped(t, (groups, -1, 1)) for t in (weight, bias))
    statistics = (t.view(n, groups, 1, 1) for t in out[1:])
    kernels = forward, _plain_gradients([-2, -1]) if active() else backward
    result = _row_norm(epsilon, kernels, x, weight, bias, *statistics)
    return result.reshape(out[0].shape), None, None


def _reshaped(t, shape):
    return None if t is None else Pair(*(part.reshape(shape) for part in as_pair(t)))


def _row_norm(epsilon, kernels, x, weight, bias, mean, reciprocal):
    return _RowNorm.apply(epsilon, kernels, *as_pair(x), *vectors(epsilon, weight, bias), mean, reciprocal)


class _RowNorm(Function):
    """dy = dz w_0 + z_1 dw + db, where z is the rows standardised and dz as in :mod:`.standardisation`.

    ``kernels`` are torch's for the values, which gives z_1 dw + db with the statistics at w, and for their gradient.
    Statistics and vectors have shapes that meet x. Short types are computed with in float32.
    """

    @staticmethod
    def forward(ctx, epsilon, kernels, a, d, w, dw, db, w_1, mean, r0):
        normalise, ctx.gradients = kernels
        x, result_type = Pair(wide(a), wide(d)), a.dtype
        w, dw, db, mean, r0 = *map(wide, (w, dw, db)), wide(mean), wide(r0)
        at_w = x.value(epsilon)
        moved, mean_1, r1 = normalise(at_w, dw, db)
        ctx.save_for_backward(at_w.to(result_type), mean_1, r1, w_1)
        middle, mean, r, scale = between(epsilon, x, mean, r0, r1, normalise)
        (dz, *_) = ctx.gradients(x.difference.contiguous(), middle.contiguous(), mean, r, None, [True, False, False])
        dz.mul_(scale)
        return (dz if w is None else add_product(moved, dz, w)).to(result_type)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, mean, reciprocal, weight = ctx.saved_tensors
        mask = [ctx.needs_input_grad[i] for i in (3, 5, 6)]
        found = ctx.gradients(wide(gradient).contiguous(), wide(x).contiguous(), mean, reciprocal, wide(weight), mask)
        likes = zip(mask, found, (x, weight, weight), strict=True)
        dx, dw, db = (t.to(like.dtype).view_as(like) if wanted else None for wanted, t, like in likes)
        return None, None, None, dx, None, dw, db, None, None, None


def _plain_gradients(rows: list[int]):
    """As torch's kernels, which are not for transforms; over these dimensions."""

    def gradients(gradient, x, mean, reciprocal, weight, mask):
        z = (x - mean) * reciprocal
        weighted = gradient if weight is None else gradient * weight
        shift, along = (t.mean(rows, keepdim=True) for t in (weighted, weighted * z))
        dx = (weighted - shift - z * along) * reciprocal
        return dx, *(None if weight is None else t.sum_to_size(weight.shape) for t in (gradient * z, gradient))

    return gradients
