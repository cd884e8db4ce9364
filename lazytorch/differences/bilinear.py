"""Products: B(u, v) has the divided difference B(du, v + eps dv) + B(u, dv).

The gradient in dv is that of B(u + eps du, dv), so each product costs two calls forward and two backward
(Reps & Rall 2003, section 4, for the rule; the fused gradient follows from D_eps B's derivative being B's at w).
"""

from typing import Any

import torch
import torch.nn.functional as F

from .function import Function, add_product, once_differentiable
from .jumps import continuous
from .pair import Pair, difference, primal, rule
from .pointwise import scaled

aten = torch.ops.aten


class _Convolution(Function):
    """conv(du, v + eps dv) + conv(u, dv) + db, of the ``left`` u + eps du and the ``right`` v + eps dv too."""

    @staticmethod
    def forward(ctx, geometry, u, du, left, dv, right, db):
        ctx.geometry, ctx.bias_sizes = geometry, None if db is None else db.shape
        ctx.save_for_backward(left, right)
        return torch.convolution(du, right, None, *geometry).add_(torch.convolution(u, dv, db, *geometry))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        mask = [ctx.needs_input_grad[i] for i in (2, 4, 6)]
        du, dv, db = aten.convolution_backward(gradient, *ctx.saved_tensors, ctx.bias_sizes, *ctx.geometry, mask)
        return None, None, du, None, dv, None, db


class _Linear(Function):
    """du (v + eps dv)^T + u dv^T + db, for matrices, given as to :class:`_Convolution`."""

    @staticmethod
    def forward(ctx, u, du, left, dv, right, db):
        ctx.save_for_backward(left, right)
        return torch.addmm(F.linear(u, dv, db), du, right.t())

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        left, right = ctx.saved_tensors
        du = gradient.mm(right.conj()) if ctx.needs_input_grad[1] else None
        dv = gradient.t().mm(left.conj()) if ctx.needs_input_grad[3] else None
        db = gradient.sum(0) if ctx.needs_input_grad[5] else None
        return None, du, None, dv, None, db


class _MatrixProduct(Function):
    """du (v + eps dv) + u dv + db, for matrices or batches of them, given as to :class:`_Convolution`."""

    @staticmethod
    def forward(ctx, u, du, left, dv, right, db):
        ctx.bias_shape = None if db is None else db.shape
        ctx.save_for_backward(left, right)
        return _sum_and_product(_sum_and_product(db, u, dv), du, right)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        left, right = ctx.saved_tensors
        du = gradient @ right.mH if ctx.needs_input_grad[1] else None
        dv = _inner(left, gradient, right) if ctx.needs_input_grad[3] else None
        db = gradient.sum_to_size(ctx.bias_shape) if ctx.needs_input_grad[5] else None
        return None, du, None, dv, None, db


class _Product(Function):
    """du (v + eps dv) + u dv, element by element, given as to :class:`_Convolution`."""

    @staticmethod
    def forward(ctx, u, du, left, dv, right):
        ctx.shapes = du.shape, dv.shape
        ctx.save_for_backward(left, right)
        return add_product(du * right, u, dv)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        left, right = ctx.saved_tensors
        du = (gradient * right.conj()).sum_to_size(ctx.shapes[0]) if ctx.needs_input_grad[1] else None
        dv = (gradient * left.conj()).sum_to_size(ctx.shapes[1]) if ctx.needs_input_grad[3] else None
        return None, du, None, dv, None


def _inner(left, right, like):
    """left^H right, in memory as ``like`` is: a gradient that lies as its parameter does is not copied."""
    return (right.mT @ left.conj()).mT if like.mT.is_contiguous() else left.mH @ right


def _sum_and_product(total, left, right):
    if total is None:
        return left @ right
    return (torch.addmm if left.dim() == 2 else torch.baddbmm)(total, left, right)


def _at_w(epsilon, *factors: Pair) -> list:
    return [factor.constant(epsilon) for factor in factors]


@rule(aten.convolution)
def convolution(epsilon, out, input, weight, bias, *geometry):
    u, v, du, dv, db = primal(input), primal(weight), *map(difference, (input, weight, bias))
    if du is not None and dv is not None:
        left, right = _at_w(epsilon, input, weight)
        return _Convolution.apply(geometry, u, du, left, dv, right, db)
    if dv is not None:
        return aten.convolution(u, dv, db, *geometry)
    if du is not None:
        return aten.convolution(du, v, db, *geometry)
    channel = out.dim() - (len(geometry[0]) + 1)  # an input without batch dimension has its channels first
    return db.reshape([-1] + [1] * (out.dim() - channel - 1)).expand_as(out)


@rule(aten.linear)
def linear(epsilon, out, input, weight, bias: Any = None):
    u, v, du, dv, db = primal(input), primal(weight), *map(difference, (input, weight, bias))
    if du is not None and dv is not None:
        left, right = _at_w(epsilon, input, weight)
        return _Linear.apply(u, du, left, dv, right, db)
    if dv is not None:
        return F.linear(u, dv, db)
    if du is not None:
        return F.linear(du, v, db)
    return db.expand_as(out)


@rule(aten.mm, aten.bmm)
def matrix_product(epsilon, out, left, right, db=None):
    """D_eps (u @ v + b), for matrices or batches of them."""
    u, v, du, dv = primal(left), primal(right), difference(left), difference(right)
    if du is None:
        return _sum_and_product(db, u, dv)
    if dv is None:
        return _sum_and_product(db, du, v)
    left, right = _at_w(epsilon, left, right)
    return _MatrixProduct.apply(u, du, left, dv, right, db)


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
    if du.dtype != dv.dtype:
        return du * right.value(epsilon) + u * dv
    left, right = _at_w(epsilon, left, right)
    return _Product.apply(u, du, left, dv, right)


@rule(aten.div.Tensor, aten.div.Scalar)
def divide(epsilon, out, left, right):
    """D_eps (u / v) = (du - (u / v) dv) / (v + eps dv)."""
    left, right = (continuous(t, epsilon, out.dtype) for t in (left, right))
    du, dv = difference(left), difference(right)
    if dv is None:
        return du / primal(right)
    return (-out * dv if du is None else du - out * dv) / right.value(epsilon)
