"""Standardising z(x) = (x - mean) r, r = 1 / sqrt(variance + eta), on pairs: what batch, layer and group norm share.

The divided difference from a to b = a + eps d is the derivative at a mean of both, scaled:

    [z(b) - z(a)] / eps = (h / r*) z'(x*) d,  x* = (r_0 a + r_1 b) / (r_0 + r_1),  h = 2 r_0 r_1 / (r_0 + r_1),

where r_0, r_1 and r* are those of a, b and x*. For with c = d - mean(d) and dr = -Dv (r_0 r_1)^2 / (r_0 + r_1), Dv the
variance's difference, the product rule gives h (c - z_m (r_0 r_1 / h) Dv / 2), where z_m = (z(a) + z(b)) / 2 is
x* - mean(x*) times r_0 r_1 / h; that z'(x*) removes as much of x* from d follows from the mean of z^2, 1 - eta r^2.
Torch's kernel for the gradient is z'(x*), as the Jacobian is symmetric, and so nothing is subtracted but by it.
"""

from typing import TypeVar

import torch
from torch import Tensor

from .pair import Pair, as_pair, difference, primal

T = TypeVar("T", Tensor, None)


def wide(t: T) -> T:
    """In float32, if the type is a short one."""
    return t.float() if t is not None and t.dtype in (torch.float16, torch.bfloat16) else t


def vectors(epsilon: float, weight, bias) -> tuple[Tensor | None, ...]:
    """The weight w at w_0, dw, db and the weight at w; torch's kernels take no bias without a weight, which is 1."""
    if weight is None and bias is not None:
        weight = torch.ones_like(primal(bias))
    at_w = weight.constant(epsilon) if isinstance(weight, Pair) else weight
    return *(as_pair(weight) or (None, None)), difference(bias), at_w


def between(epsilon: float, x: Pair, mean: Tensor, r0: Tensor, r1: Tensor, standardise):
    """x*, its mean, r* and h / r*; statistics are given, and returned by standardise(x), in shapes that meet x."""
    if epsilon == 0:
        return x.primal, mean, r0, torch.ones_like(r0)
    twice = torch.div(r1, torch.lerp(r0, r1, 0.5))
    middle = torch.addcmul(x.primal, x.difference, twice, value=epsilon / 2)
    _, mean, r = standardise(middle)
    return middle, mean, r, twice.mul_(r0).div_(r)
