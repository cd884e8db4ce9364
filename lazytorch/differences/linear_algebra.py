"""Functions of matrices: inverses, linear systems, the exponential. A and B = A + eps D are the values at w_0 and w."""

import functools

import torch

from .pair import apply, as_pair, rule, value

aten = torch.ops.aten


@rule(aten.linalg_inv_ex)
def inverse(epsilon, out, x, *, check_errors=False):
    """-A^-1 D B^-1."""
    return -out[0] @ torch.linalg.solve(x.value(epsilon), x.difference, left=False), None


@rule(aten._linalg_solve_ex)
def solve(epsilon, out, x, right, *, left=True, check_errors=False):
    """B^-1 (dR - D X) with X = A^-1 R, and its mirror image for the solution of X A = R; the factors stay behind."""
    d, right = as_pair(x).difference, as_pair(right).difference
    vector = right.dim() == d.dim() - 1
    moved = (d @ out[0].unsqueeze(-1)).squeeze(-1) if vector else d @ out[0] if left else out[0] @ d
    return torch.linalg.solve(value(x, epsilon), right - moved, left=left), None, None, None


@rule(aten.linalg_pinv.atol_rtol_tensor)
def pseudoinverse(epsilon, out, x, **options):
    """-B+ D A+ + B+ B+^H D^H (I - A A+) + (I - B+ B) D^H A+^H A+ (Wedin 1973), whatever the ranks.

    Its terms are larger than both pseudoinverses where the move is; there they are subtracted.
    """
    function = functools.partial(torch.linalg.pinv, **options)

    def formula(epsilon, x):
        a, d = map(_read_of_hermitian, x) if options.get("hermitian") else x
        b, start, end = torch.add(a, d, alpha=epsilon), out, function(x.value(epsilon))
        beyond = end @ (end.mH @ _outside(start.mH, a.mH, d).mH)
        before = _outside(end, b, d.mH @ start.mH @ start)
        near = beyond + before - end @ (d @ start)
        if epsilon == 0:
            return near
        move, *sizes = (torch.linalg.matrix_norm(t, keepdim=True) for t in (epsilon * d, start, end))
        return torch.where(move * torch.minimum(*sizes) <= 1, near, (end - start) / epsilon)

    return apply(formula, function, epsilon, x)


def _outside(inverse, x, y):
    """(I - X+ X) Y; a projection that is 0 but for its rounding is 0."""
    if x.shape[-1] > x.shape[-2]:
        return y - inverse @ (x @ y)
    projection = torch.eye(x.shape[-1], dtype=x.dtype, device=x.device) - inverse @ x
    nothing = torch.linalg.matrix_norm(projection, keepdim=True) < 0.5
    return projection.masked_fill(nothing, 0) @ y


def _read_of_hermitian(x):
    return x.tril() + x.tril(-1).mH


@rule(aten.linalg_matrix_exp)
def matrix_exponential(epsilon, out, x):
    """The upper right block of exp [[A, D], [0, B]], which is linear in that D (so D may be scaled to size 1).

    As [[A, D], [0, B]] = T^-1 diag(A, B) T with T = [[1, -1 / eps], [0, 1]], any function of it has this block.
    """
    a, d = x
    size = d.detach().abs().amax((-2, -1), keepdim=True)
    size = torch.where(size == 0, 1, size)
    blocks = torch.cat([torch.cat([a, d / size], -1), torch.cat([torch.zeros_like(a), x.value(epsilon)], -1)], -2)
    return torch.linalg.matrix_exp(blocks)[..., : a.shape[-1], a.shape[-1] :] * size
