"""Products: B(u, v) has the divided difference B(du, v + eps dv) + B(u, dv).

The gradient in dv is that of B(u + eps du, dv), so each product costs two calls forward and two backward
(Reps & Rall 2003, section 4, for the rule; the fused gradient follows from D_eps B's derivative being B's at w).
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pair import Pair, difference, primal, rule, value

aten = torch.ops.aten


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, epsilon, geometry, u, du, v, dv):
        input_, weight = Pair(u, du).value(epsilon), Pair(v, dv).value(epsilon)
        ctx.geometry = geometry
        ctx.save_for_backward(input_, weight)
        return aten.convolution(du, weight, None, *geometry).add_(aten.convolution(u, dv, None, *geometry))

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        mask = [ctx.needs_input_grad[3], ctx.needs_input_grad[5], False]
        du, dv, _ = aten.convolution_backward(gradient, *ctx.saved_tensors, None, *ctx.geometry, mask)
        return None, None, None, du, None, dv


class _MatrixProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, epsilon, u, du, v, dv):
        left, right = Pair(u, du).value(epsilon), Pair(v, dv).value(epsilon)
        ctx.save_for_backward(left, right)
        return (du @ right).add_(u @ dv)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        left, right = ctx.saved_tensors
        du = gradient @ right.transpose(-1, -2) if ctx.needs_input_grad[2] else None
        dv = left.transpose(-1, -2) @ gradient if ctx.needs_input_grad[4] else None
        return None, None, du, None, dv


@rule(aten.convolution)
def convolution(epsilon, input, weight, bias, *geometry):
    u, v, b = primal(input), primal(weight), primal(bias)
    du, dv, db = difference(input), difference(weight), difference(bias)
    if du is None and dv is None:
        result = 0.0
    elif du is None:
        result = aten.convolution(u, dv, None, *geometry)
    elif dv is None:
        result = aten.convolution(du, v, None, *geometry)
    else:
        result = _Convolution.apply(epsilon, geometry, u, du, v, dv)
    out = aten.convolution(u, v, b, *geometry)
    if db is not None:
        channel = out.dim() - (len(geometry[0]) + 1)  # an input without batch dimension has its channels first
        result = result + db.reshape([-1] + [1] * (out.dim() - channel - 1)).expand_as(out)
    return Pair(out, result)


def matrix_difference(epsilon, left, right) -> Tensor:
    """D_eps (u @ v), for matrices or batches of them; at least one argument is a Pair."""
    u, v, du, dv = primal(left), primal(right), difference(left), difference(right)
    if du is None:
        return u @ dv
    if dv is None:
        return du @ v
    return _MatrixProduct.apply(epsilon, u, du, v, dv)


@rule(aten.mm, aten.bmm)
def matrix_product(epsilon, left, right):
    return Pair(primal(left) @ primal(right), matrix_difference(epsilon, left, right))


@rule(aten.addmm, aten.baddbmm)
def add_matrix_product(epsilon, bias, left, right, *, beta=1, alpha=1):
    product = aten.bmm if primal(left).dim() == 3 else aten.mm
    out = torch.add(beta * primal(bias), product(primal(left), primal(right)), alpha=alpha)
    terms = []
    if isinstance(left, Pair) or isinstance(right, Pair):
        terms.append(alpha * matrix_difference(epsilon, left, right))
    if isinstance(bias, Pair):
        terms.append(beta * bias.difference.expand_as(out))
    return Pair(out, sum(terms[1:], terms[0]))


@rule(aten.mul)
def multiply(epsilon, left, right):
    u, v, du, dv = primal(left), primal(right), difference(left), difference(right)
    if du is None:
        return Pair(u * v, u * dv)
    if dv is None:
        return Pair(u * v, du * v)
    return Pair(u * v, du * value(right, epsilon) + u * dv)


@rule(aten.div.Tensor, aten.div.Scalar)
def divide(epsilon, left, right):
    """D_eps (u / v) = (du - (u / v) dv) / (v + eps dv)."""
    u, v, du, dv = primal(left), primal(right), difference(left), difference(right)
    quotient = u / v
    if dv is None:
        return Pair(quotient, du / v)
    return Pair(quotient, (-quotient * dv if du is None else du - quotient * dv) / right.value(epsilon))
