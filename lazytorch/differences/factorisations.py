"""Determinants, factors of matrices, and triangular systems. A and B = A + eps D are the values at w_0 and w.

B is A times a matrix near the identity, I + eps M. The factors of that differ from the identity by what LAPACK computes
without loss outside the diagonal, and on it by what their definition gives.
"""

import functools

import torch
from torch import Tensor

from .decompositions import decomposition
from .derivative import derivative
from .jumps import jump
from .pair import UnsupportedOperator, apply, as_pair, rule, value
from .pointwise import scaled_by

aten = torch.ops.aten

#: The size of eps M up to which the identities are used; beyond, nothing cancels in a subtraction.
NEAR = 0.25


def _is_near(move: Tensor) -> Tensor:
    """Of each matrix."""
    return torch.linalg.matrix_norm(move, keepdim=True) <= NEAR


def _identity(like: Tensor) -> Tensor:
    return torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)


def _derivative_only(epsilon, reason: str, operator, *arguments):
    if epsilon > 0:
        raise UnsupportedOperator(f'{reason}: wrap with difference="direct" in float64')
    return derivative(operator, *arguments)


@rule(aten._linalg_det)
def determinant(epsilon, out, x):
    """sum_i det(b_1, ..., b_(i-1), d_i, a_(i+1), ..., a_n) over the columns, at the cost of n determinants."""
    return apply(_determinant, torch.linalg.det, epsilon, x), None, None


def _determinant(epsilon, x):
    a, d = (part.unsqueeze(-3) for part in x)
    b, n = x.value(epsilon).unsqueeze(-3), x.primal.shape[-1]
    column, replaced = torch.arange(n, device=a.device), torch.arange(n, device=a.device).view(n, 1, 1)
    return torch.where(column < replaced, b, torch.where(column == replaced, d, a)).det().sum(-1)


@rule(aten._linalg_slogdet)
def logarithm_of_determinant(epsilon, out, x):
    """log|det(I + eps M)| / eps with M = A^-1 D; the sign jumps."""
    if x.primal.is_complex():
        return _derivative_only(
            epsilon, "complex matrices have no rule at finite alpha", aten._linalg_slogdet.default, x
        )
    logarithm = apply(_log_determinant, lambda x: torch.linalg.slogdet(x)[1], epsilon, x)
    sign = torch.linalg.slogdet(x.value(epsilon))[0]
    return jump(epsilon, out[0], sign), logarithm, None, None  # the factors stay behind


def _log_determinant(epsilon, x):
    """sum_i log(u_i) / eps, where I + eps M = L U and u_i = 1 + eps (m_ii - sum_(k<i) l_ik u_ki / eps)."""
    m = torch.linalg.solve(*x)
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    if epsilon == 0:
        return diagonal.sum(-1)
    factors, _ = torch.linalg.lu_factor(_identity(m) + epsilon * m)
    left, right = factors.tril(-1) / epsilon, factors.triu(1)
    moves = diagonal - (left * right.mT).sum(-1)
    near = scaled_by(epsilon, torch.log1p, moves)
    far = factors.diagonal(dim1=-2, dim2=-1).abs().log() / epsilon
    return torch.where(_is_near(epsilon * m).squeeze(-1), near, far).sum(-1)


@rule(aten.linalg_lu_factor_ex)
def lu(epsilon, out, x, *, pivot=True, check_errors=False):
    """L (I + eps F) and (I + eps G) U, by the factors of I + eps L^-1 P^T D U^-1.

    Where LAPACK permutes otherwise they jump.
    """
    if x.primal.shape[-1] != x.primal.shape[-2]:
        reason = "the LU factors of a matrix that is not square have no rule at finite alpha"
        return _derivative_only(epsilon, reason, aten.linalg_lu_factor_ex.default, x)
    pivots = torch.linalg.lu_factor(x.value(epsilon), pivot=pivot)[1]

    def function(x):
        return torch.linalg.lu_factor(x, pivot=pivot)[0]

    def formula(epsilon, x):
        start, d = out[0], _permutation(*out[:2]).mT @ x.difference
        m = torch.linalg.solve_triangular(start, d, upper=False, unitriangular=True)
        m = torch.linalg.solve_triangular(start, m, upper=True, left=False)
        below, above = _lu_of_move(epsilon, m)
        near = (start.tril(-1) @ below).tril(-1) + below + above @ start.triu()
        if epsilon == 0:
            return near
        kept = _is_near(epsilon * m) & (pivots == out[1]).all(-1)[..., None, None]
        return torch.where(kept, near, (function(x.value(epsilon)) - start) / epsilon)

    return apply(formula, function, epsilon, x), pivots, None


def _lu_of_move(epsilon, m):
    """F, below the diagonal, and G, of the factors of I + eps M without permutations.

    Outside the diagonal they are the factors over eps, on it m_ii - eps sum_(k<i) f_ik g_ki.
    """
    diagonal = m.diagonal(dim1=-2, dim2=-1)
    if epsilon == 0:
        return m.tril(-1), m.triu()
    factors, _ = torch.linalg.lu_factor(_identity(m) + epsilon * m)
    left, above = factors.tril(-1) / epsilon, factors.triu(1) / epsilon
    return left, above + torch.diag_embed(diagonal - epsilon * (left * above.mT).sum(-1))


@decomposition(aten.linalg_lu.default)
def lu_of_three(x, pivot=True):
    return torch.lu_unpack(*torch.linalg.lu_factor(x)) if pivot else NotImplemented


@decomposition(aten.lu_unpack.default)
def lu_unpack(factors, pivots, unpack_data=True, unpack_pivots=True):
    """Of a square matrix, the permutation by itself."""
    if not unpack_data or not unpack_pivots or factors.shape[-1] != factors.shape[-2]:
        return NotImplemented
    return _permutation(factors, pivots), factors.tril(-1) + _identity(factors), factors.triu()


def _permutation(factors, pivots):
    like = torch.zeros(factors.shape, dtype=factors.dtype, device=factors.device)
    return torch.lu_unpack(like, pivots, unpack_data=False)[0]


@rule(aten.linalg_cholesky_ex)
def cholesky(epsilon, out, x, *, upper=False, check_errors=False):
    """L H, where I + eps H is the factor of I + eps L^-1 D L^-H."""
    function = functools.partial(torch.linalg.cholesky, upper=upper)

    def formula(epsilon, x):
        start = out[0].mH if upper else out[0]
        d = x.difference.mH if upper else x.difference
        d = d.tril() + d.tril(-1).mH  # all that is read of the matrix
        s = torch.linalg.solve_triangular(start, d, upper=False)
        s = torch.linalg.solve_triangular(start.mH, s, upper=True, left=False)
        near = start @ _cholesky_of_move(epsilon, s)
        near = near.mH if upper else near
        return near if epsilon == 0 else _unless_far(near, epsilon * s, out[0], function(x.value(epsilon)), epsilon)

    return apply(formula, function, epsilon, x), None


def _cholesky_of_move(epsilon, s):
    """H, of the factor C = I + eps H of I + eps S.

    Below the diagonal it is c_ij / eps, on it t_i / (1 + c_ii) as c_ii^2 = 1 + eps t_i,
    t_i = s_ii - eps sum_(j<i) |h_ij|^2.
    """
    diagonal = s.diagonal(dim1=-2, dim2=-1)
    if epsilon == 0:
        return s.tril(-1) + torch.diag_embed(diagonal / 2)
    factor, _ = torch.linalg.cholesky_ex(_identity(s) + epsilon * s)
    below = factor.tril(-1) / epsilon
    t = diagonal - epsilon * below.abs().square().sum(-1)
    return below + torch.diag_embed(t / (1 + factor.diagonal(dim1=-2, dim2=-1)))


def _unless_far(near, move, start, end, epsilon):
    return torch.where(_is_near(move), near, (end - start) / epsilon)


@rule(aten.linalg_qr)
def qr(epsilon, out, x, mode="reduced"):
    """With E = D R^-1, Q + eps E = Q_w G where G = I + eps H has G^T G = I + eps (Q^T E + E^T Q + eps E^T E).

    So R moves by H R, and Q by (E - Q H) G^-1. The signs of the rows of R are those that LAPACK chooses at w.
    """
    rows = x.primal.shape[-2]
    if x.primal.is_complex() or mode != "reduced":
        reason = "only the reduced factors of a real matrix have a rule at finite alpha"
        return _derivative_only(epsilon, reason, aten.linalg_qr.default, x, mode)

    def stacked(x):
        return torch.cat(torch.linalg.qr(x), -2)

    def formula(epsilon, x):
        q, r = out
        e = torch.linalg.solve_triangular(r, x.difference, upper=True, left=False)
        cross = q.mT @ e
        h = _cholesky_of_move(epsilon, cross + cross.mT + epsilon * (e.mT @ e)).mT
        moved = torch.linalg.solve_triangular(_identity(h) + epsilon * h, e - q @ h, upper=True, left=False)
        near, start = torch.cat([moved, h @ r], -2), torch.cat(out, -2)
        if epsilon == 0:
            return near
        end = stacked(x.value(epsilon))
        signs = end[..., rows:, :].diagonal(dim1=-2, dim2=-1) * r.diagonal(dim1=-2, dim2=-1)
        kept = torch.cat([(signs > 0).unsqueeze(-2).expand(q.shape), (signs > 0).unsqueeze(-1).expand(r.shape)], -2)
        return _unless_far(torch.where(kept, near, (end - start) / epsilon), epsilon * e, start, end, epsilon)

    moved = apply(formula, stacked, epsilon, x)
    return moved[..., :rows, :], moved[..., rows:, :]


@decomposition(aten.linalg_qr.default)
def qr_of_square(x, mode="reduced"):
    """Where Q is square it is that of the first columns."""
    rows, columns = x.shape[-2:]
    if x.is_complex() or mode == "r" or rows > columns or (rows == columns and mode == "reduced"):
        return NotImplemented
    q, left = torch.linalg.qr(x[..., :rows])
    return q, torch.cat([left, q.mT @ x[..., rows:]], -1)


@rule(aten.linalg_solve_triangular)
def solve_triangular(epsilon, out, x, right, *, upper, left=True, unitriangular=False):
    """B^-1 (dR - D X) with X = A^-1 R, and its mirror image, where D is what is read of it."""
    d, moved = as_pair(x).difference, as_pair(right).difference
    d = d.triu(int(unitriangular)) if upper else d.tril(-int(unitriangular))
    rest = moved - (d @ out if left else out @ d)
    options = {"upper": upper, "left": left, "unitriangular": unitriangular}
    return torch.linalg.solve_triangular(value(x, epsilon), rest, **options)


@decomposition(aten.triangular_solve.default)
def old_triangular_solve(right, x, upper=True, transpose=False, unitriangular=False):
    matrix, upper = (x.mT, not upper) if transpose else (x, upper)
    return torch.linalg.solve_triangular(matrix, right, upper=upper, unitriangular=unitriangular), x.clone()


@decomposition(aten.cholesky_solve.default)
def cholesky_solve(right, factor, upper=False):
    factor = factor.mH if upper else factor
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    return torch.linalg.solve_triangular(factor.mH, half, upper=True)


@decomposition(aten.cholesky_inverse.default)
def cholesky_inverse(factor, upper=False):
    return cholesky_solve(_identity(factor).expand_as(factor), factor, upper)
