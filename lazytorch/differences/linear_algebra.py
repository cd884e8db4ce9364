"""Functions of matrices: inverses, linear systems, the exponential. A and B = A + eps D are the values at w_0 and w."""

import torch

from .pair import as_pair, rule, value

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
