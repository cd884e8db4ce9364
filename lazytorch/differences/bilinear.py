"""Products: B(u, v) has the divided difference B(du, v + eps dv) + B(u, dv).

The gradient in dv is that of B(u + eps du, dv), so each product costs two calls forward and two backward
(Reps & Rall 2003, section 4, for the rule; the fused gradient follows from D_eps B's derivative being B's at w). The
weights v + eps dv are formed once more in the backward pass, as one layer's at a time take less memory than all; in a
graph they are kept, and the compiler chooses.
"""

from typing import Any

import torch

from .function import Function, once_differentiable
from .pair import Pair, continuous, difference, is_compiling, primal, rule, value
from .pointwise import scaled

aten = torch.ops.aten


class _Convolution(Function):
    """conv(du, v + eps dv) + conv(u, dv) + db."""

    @staticmethod
    def forward(ctx, epsilon, geometry, u, du, v, dv, db):
        ctx.epsilon, ctx.geometry, ctx.bias_sizes = epsilon, geometry, None if db is None else db.shape
        weight = Pair(v, dv).value(epsilon)
        ctx.save_for_backward(Pair(u, du).value(epsilon), *((weight,) if is_compiling() else (v, dv)))
        return aten.convolution(du, weight, None, *geometry).add_(aten.convolution(u, dv, db, *geometry))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        input_, *weight = ctx.saved_tensors
        mask = [ctx.needs_input_grad[i] for i in (3, 5, 6)]
        factors = gradient, input_, _at_w(weight, ctx.epsilon)
        du, dv, db = aten.convolution_backward(*factors, ctx.bias_sizes, *ctx.geometry, mask)
        return None, None, None, du, None, dv, db


class _MatrixProduct(Function):
    """du (v + eps dv) + u dv + db, for matrices or batches of them."""

    @staticmethod
    def forward(ctx, epsilon, u, du, v, dv, db):
        left, right = Pair(u, du).value(epsilon), Pair(v, dv).value(epsilon)
        ctx.epsilon, ctx.bias_shape = epsilon, None if db is None else db.shape
        is_weight = v.dim() == 2 and not is_compiling()
        ctx.save_for_backward(left, *((v, dv) if is_weight else (right,)))
        return _sum_and_product(_sum_and_product(db, u, dv), du, right)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        left, *right = ctx.saved_tensors
        du = gradient @ _at_w(right, ctx.epsilon).mH if ctx.needs_input_grad[2] else None
        dv = _cross(left, gradient, right[0]) if ctx.needs_input_grad[4] else None
        db = gradient.sum_to_size(ctx.bias_shape) if ctx.needs_input_grad[5] else None
        return None, None, du, None, dv, db


def _at_w(kept, epsilon):
    """What was kept at w, or as a pair."""
    return Pair(*kept).value(epsilon) if len(kept) == 2 else kept[0]


def _cross(left, right, like):
    """left^H right, in memory as ``like`` is, which may be a transposed weight."""
    return left.mH @ right if like.is_contiguous() else (right.mH @ left).mH


def _sum_and_product(total, left, right):
    if total is None:
        return left @ right
    return (torch.addmm if left.dim() == 2 else torch.baddbmm)(total, left, right)


@rule(aten.convolution)
def convolution(epsilon, out, input, weight, bias, *geometry):
    u, v, du, dv, db = primal(input), primal(weight), *map(difference, (input, weight, bias))
    if du is not None and dv is not None:
        return _Convolution.apply(epsilon, geometry, u, du, v, dv, db)
    if dv is not None:
        return aten.convolution(u, dv, db, *geometry)
    if du is not None:
        return aten.convolution(du, v, db, *geometry)
    channel = out.dim() - (len(geometry[0]) + 1)  # an input without batch dimension has its channels first
    return db.reshape([-1] + [1] * (out.dim() - channel - 1)).expand_as(out)


@rule(aten.mm, aten.bmm)
def matrix_product(epsilon, out, left, right, db=None):
    """D_eps (u @ v + b), for matrices or batches of them."""
    u, v, du, dv = primal(left), primal(right), difference(left), difference(right)
    if du is None:
        return _sum_and_product(db, u, dv)
    if dv is None:
        return _sum_and_product(db, du, v)
    return _MatrixProduct.apply(epsilon, u, du, v, dv, db)


@rule(aten.addmm, aten.baddbmm)
def add_matrix_product(epsilon, out, bias, left, right, *, beta=1, alpha=1):
    db = difference(_times(beta, bias))
    if isinstance(left, Pair) or isinstance(right, Pair):
        return matrix_product(epsilon, out, _times(alpha, left), right, db)
    return db.expand_as(out)


def _times(factor, x) -> Any:
    if factor == 1:
        return x
    return scaled(x, factor) if isinstance(x, Pair) else factor * x


@rule(aten._sparse_addmm)
def add_sparse_matrix_product(epsilon, out, bias, left, right, *, beta=1, alpha=1):
    """The sparse matrix has no difference, so du = 0."""
    return add_matrix_product(epsilon, out, bias, left, right, beta=beta, alpha=alpha)


@rule(aten.mul)
def multiply(epsilon, out, left, right):
    left, right = (continuous(t, epsilon, out.dtype) for t in (left, right))  # a condition may be a factor
    u, v, du, dv = primal(left), primal(right), difference(left), difference(right)
    if du is None:
        return u * dv
    if dv is None:
        return du * v
    return du * value(right, epsilon) + u * dv


@rule(aten.div.Tensor, aten.div.Scalar)
def divide(epsilon, out, left, right):
    """D_eps (u / v) = (du - (u / v) dv) / (v + eps dv)."""
    left, right = (continuous(t, epsilon, out.dtype) for t in (left, right))
    du, dv = difference(left), difference(right)
    if dv is None:
        return du / primal(right)
    return (-out * dv if du is None else du - out * dv) / right.value(epsilon)
