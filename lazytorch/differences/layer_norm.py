"""Layer and group normalisation: rows standardised by their own mean and variance, then scaled and shifted."""

import functools

import torch

from ..transforms import active
from .function import Function, add_product, once_differentiable
from .pair import Pair, as_pair, difference, primal, rule
from .standardisation import of_sample, wide

aten = torch.ops.aten


@rule(aten.native_layer_norm)
def layer_norm(epsilon, out, x, shape, weight, bias, eta):
    """A row is what the last dimensions, of the given shape, hold."""

    def backward(gradient, x, mean, reciprocal, weight, mask):
        return aten.native_layer_norm_backward(gradient, x, shape, mean, reciprocal, weight, weight, mask)

    return _row_norm(epsilon, backward, eta, len(shape), x, weight, bias, *out[1:]), None, None


@rule(aten.native_group_norm)
def group_norm(epsilon, out, x, weight, bias, n, channels, positions, groups, eta):
    """A row is a group of channels of one example; weight and bias are per channel."""

    def backward(gradient, x, mean, reciprocal, weight, mask):
        mean, reciprocal = mean.view(n, groups), reciprocal.view(n, groups)
        weight = None if weight is None else weight.flatten()
        sizes = n, channels, positions, groups
        return aten.native_group_norm_backward(gradient, x, mean, reciprocal, weight, *sizes, mask)

    x = _reshaped(x, (n, groups, channels // groups, positions))
    weight, bias = (_reshaped(t, (groups, -1, 1)) for t in (weight, bias))
    statistics = (t.view(n, groups, 1, 1) for t in out[1:])
    return _row_norm(epsilon, backward, eta, 2, x, weight, bias, *statistics).reshape(out[0].shape), None, None


def _reshaped(t, shape):
    return None if t is None else Pair(*(part.reshape(shape) for part in as_pair(t)))


def _row_norm(epsilon, backward, eta, dimensions, x, weight, bias, mean, reciprocal):
    if weight is None and bias is not None:
        weight = torch.ones_like(primal(bias))  # torch's kernels have no gradient of a bias alone
    vectors = *(as_pair(weight) or (None, None)), difference(bias)
    return _RowNorm.apply(epsilon, backward, eta, dimensions, *as_pair(x), *vectors, mean, reciprocal)


class _RowNorm(Function):
    """dy = dz w_1 + z dw + db, with dz = (dx - dmean) r_1 + z dr / r_0 and z the rows standardised at w_0.

    Rows are the last ``dimensions``; ``mean`` and ``reciprocal``, the rows' at w_0, and the vectors have shapes that
    meet x. ``backward`` is torch's, from the values at w. Short types are computed with in float32.
    """

    @staticmethod
    def forward(ctx, epsilon, backward, eta, dimensions, a, d, w, dw, db, mean, reciprocal):
        rows = list(range(-dimensions, 0))
        ctx.kernel, ctx.rows = backward, rows
        at_w, w_1 = Pair(a, d).value(epsilon), None if w is None else Pair(w, dw).value(epsilon)
        a, d, dw, db, mean, reciprocal = map(wide, (a, d, dw, db, mean, reciprocal))
        z = torch.sub(a, mean).mul_(reciprocal)
        statistics = of_sample(epsilon, d, z, mean, reciprocal, eta, rows)
        ctx.save_for_backward(at_w, statistics.mean_1, statistics.reciprocal_1, w_1)
        result = torch.sub(d, statistics.mean_difference).mul_(statistics.reciprocal_1)
        result = add_product(result, z, statistics.reciprocal_difference / reciprocal)
        if w is not None:
            result = add_product(result.mul_(wide(w_1)), z, dw)
        return (result if db is None else result.add_(db)).to(at_w.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        x, mean, reciprocal, weight = ctx.saved_tensors
        mask = [ctx.needs_input_grad[i] for i in (5, 7, 8)]
        kernel = functools.partial(_gradients, rows=ctx.rows) if active() else ctx.kernel
        found = kernel(wide(gradient).contiguous(), wide(x).contiguous(), mean, reciprocal, wide(weight), mask)
        likes = zip(mask, found, (x, weight, weight), strict=True)
        dx, dw, db = (t.to(like.dtype).view_as(like) if wanted else None for wanted, t, like in likes)
        return None, None, None, None, None, dx, None, dw, db, None, None


def _gradients(gradient, x, mean, reciprocal, weight, mask, rows: list[int]):
    """Those of torch's kernels, which are not for transforms."""
    z = (x - mean) * reciprocal
    weighted = gradient if weight is None else gradient * weight
    shift, along = (t.mean(rows, keepdim=True) for t in (weighted, weighted * z))
    dx = (weighted - shift - z * along) * reciprocal
    return dx, *(None if weight is None else t.sum_to_size(weight.shape) for t in (gradient * z, gradient))
