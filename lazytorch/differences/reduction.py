"""Reductions that are not linear: products, variances, Euclidean norms. Throughout, b = a + eps d is the value at w."""

import functools

import torch
from torch import Tensor

from .pair import Pair, apply, rule

aten = torch.ops.aten


@rule(aten.prod)
def product(epsilon, out, x, dim=None, keepdim=False, *, dtype=None):
    """sum_i (b_1 ... b_(i-1)) d_i (a_(i+1) ... a_n)."""

    def function(x):
        return torch.prod(x, dtype=dtype) if dim is None else torch.prod(x, dim, keepdim, dtype=dtype)

    def formula(epsilon, x):
        a, d, b = (_rows(part.to(out.dtype), dim) for part in (*x, x.value(epsilon)))
        before, after = _product_before(b), _product_before(a.flip(-1)).flip(-1)
        return (before * d * after).sum(-1).view(out.shape)

    return apply(formula, function, epsilon, x)


def _rows(t: Tensor, dim) -> Tensor:
    return t.flatten() if dim is None or t.dim() == 0 else t.movedim(dim, -1)


def _product_before(t: Tensor) -> Tensor:
    """For each element, the product of those before it."""
    return torch.cat([torch.ones_like(t[..., :1]), t[..., :-1]], -1).cumprod(-1)


@rule(aten.cumprod)
def cumulative_product(epsilon, out, x, dim, *, dtype=None):
    """D_k = D_(k-1) a_k + (b_1 ... b_(k-1)) d_k."""

    def formula(epsilon, x):
        a, d, b = (_rows(part.to(out.dtype), dim) for part in (*x, x.value(epsilon)))
        terms = _product_before(b) * d
        results = [terms[..., 0]]
        for k in range(1, a.shape[-1]):
            results.append(results[-1] * a[..., k] + terms[..., k])
        return torch.stack(results, -1).movedim(-1, dim).reshape(out.shape)

    return apply(formula, functools.partial(torch.cumprod, dim=dim, dtype=dtype), epsilon, x)


@rule(aten.var.correction)
def variance(epsilon, out, x, dim=None, *, correction=None, keepdim=False):
    """sum (d - mean d) (2 (a - mean a) + eps (d - mean d)) / (n - correction)."""
    dims = dim or list(range(x.primal.dim()))
    a, d = (part - part.mean(dims, keepdim=True) for part in x)
    n = a.numel() // max(out.numel(), 1) - (1 if correction is None else correction)
    return (d * torch.add(2 * a, d, alpha=epsilon)).sum(dims, keepdim) / max(n, 0)


@rule(aten.var_mean.correction)
def variance_and_mean(epsilon, out, x, dim=None, *, correction=None, keepdim=False):
    mean = x.difference.mean(dim, keepdim) if dim else x.difference.mean().view(out[1].shape)
    return variance(epsilon, out[0], x, dim, correction=correction, keepdim=keepdim), mean


@rule(aten.linalg_vector_norm)
def euclidean_norm(epsilon, out, x, order=2, dim=None, keepdim=False, *, dtype=None):
    """sum d (a + b) / (|a| + |b|), 0 where both vanish; other orders are decomposed before (see decompositions.py)."""
    function = functools.partial(torch.linalg.vector_norm, ord=order, dim=dim, keepdim=keepdim, dtype=dtype)

    def formula(epsilon, x):
        a, d = (part.to(out.dtype) for part in x)
        norms = out + function(Pair(a, d).value(epsilon))
        dims = list(range(a.dim())) if dim is None else dim
        return torch.where(norms == 0, 0, (d * torch.add(2 * a, d, alpha=epsilon)).sum(dims, keepdim) / norms)

    return apply(formula, function, epsilon, x)
