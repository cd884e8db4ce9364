"""Determinants and factors where they are delicate: singular and large matrices, signs that change, what is refused."""

import pytest
import torch

from lazytorch.differences import Pair, UnsupportedOperator
from lazytorch.differences.decompositions import OWN
from lazytorch.differences.operators import on_pairs

aten = torch.ops.aten


def differences(operator, epsilon, a, d, *args):
    return on_pairs(operator, epsilon, operator(a, *args), (Pair(a, d), *args), {})


def listed(out):
    return [out] if isinstance(out, Pair) else out


def drawn(*shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_determinant_at_a_singular_matrix():
    """det(eps D) / eps = eps^2 det(D) for 3 x 3 matrices, and det(u v^T + eps D) of order eps^2 too."""
    d, a = drawn(3, 3)
    for epsilon in (0.5, 1e-4, 0.0):
        out = differences(aten._linalg_det.default, epsilon, torch.zeros_like(a), d)[0].difference
        torch.testing.assert_close(out, epsilon**2 * d.det(), rtol=1e-12, atol=0)
    rank_one = a[:1].mT @ a[1:2]
    out = differences(aten._linalg_det.default, 1e-4, rank_one, d)[0].difference
    assert 0 < out.abs() < 1e-3 * rank_one.norm() * d.norm() ** 2


@pytest.mark.parametrize("epsilon", (1e-2, 1e-4, 1e-7, 1e-12, 0.0))
def test_large_matrices_in_float32(epsilon):
    """A determinant that overflows, and factors: against float64, relative to the norm."""
    a, d = drawn(60, 60)
    d = d / 10
    definite, change = 10 * (a @ a.mT + 60 * torch.eye(60)), 10 * (d + d.mT)
    cases = [
        (aten._linalg_slogdet.default, 30 * a + 300 * torch.eye(60), d),
        (aten.linalg_cholesky_ex.default, definite, change),
        (aten.linalg_qr.default, a[:, :40], d[:, :40]),
        (aten.linalg_pinv.atol_rtol_tensor, a[:, :40], d[:, :40]),
        (aten.linalg_lu_factor_ex.default, a + 30 * torch.eye(60), d),
    ]
    for operator, start, move in cases:
        exact = differences(operator, epsilon, start, move)
        single = differences(operator, epsilon, start.float(), move.float())
        for one, other in zip(*map(listed, (exact, single)), strict=True):
            if isinstance(one, Pair):
                assert (one.difference - other.difference).norm() <= 2e-5 * one.difference.norm()


def test_signs_of_qr_and_of_a_determinant_are_those_at_w():
    """LAPACK's choice: where it changes, a factor jumps."""
    a = torch.tensor([[1e-3, 0.2], [1.0, 0.5], [0.3, 2.0]], dtype=torch.float64)
    d = torch.zeros_like(a)
    d[0, 0] = -1.0
    epsilon = 0.01
    start, end = torch.linalg.qr(a), torch.linalg.qr(a + epsilon * d)
    assert start[1][0, 0] * end[1][0, 0] < 0
    for moved, before, after in zip(differences(aten.linalg_qr.default, epsilon, a, d), start, end, strict=True):
        torch.testing.assert_close(moved.difference, (after - before) / epsilon, rtol=1e-12, atol=1e-12)
    a, d = torch.diag(torch.tensor([0.1, 1.0])), torch.diag(torch.tensor([-2.0, 0.0]))
    sign, logarithm, *_ = differences(aten._linalg_slogdet.default, 0.1, a, d)
    assert sign.difference.item() == pytest.approx(-20.0)
    assert logarithm.difference.item() == pytest.approx(0.0, abs=1e-5)


def test_lu_factors_jump_where_lapack_permutes_otherwise():
    a = torch.tensor([[1.0, 2.0], [0.999, 5.0]], dtype=torch.float64)
    d = torch.tensor([[-1.0, 0.3], [0.5, 0.0]], dtype=torch.float64)
    start, end = torch.linalg.lu_factor(a), torch.linalg.lu_factor(a + 0.01 * d)
    factors, pivots, _ = differences(aten.linalg_lu_factor_ex.default, 0.01, a, d)
    assert pivots.primal.tolist() == [1, 2] and pivots.final.tolist() == [2, 2]
    torch.testing.assert_close(factors.difference, (end[0] - start[0]) / 0.01)


def test_pseudoinverse_where_the_rank_changes():
    """1 / eps in a direction that is 0 at w_0."""
    a, d = torch.diag(torch.tensor([2.0, 0.0])), torch.diag(torch.tensor([1.0, 4.0]))
    for epsilon in (1e-2, 1e-3):
        out = differences(aten.linalg_pinv.atol_rtol_tensor, epsilon, a, d).difference
        expected = torch.diag(torch.tensor([-1 / (2 * (2 + epsilon)), 1 / (4 * epsilon**2)]))
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:torch.triangular_solve is deprecated")
@pytest.mark.parametrize("transpose", (False, True))
def test_the_old_triangular_solve_is_the_new_one(transpose):
    a, b = drawn(3, 3)
    own = OWN[aten.triangular_solve.default](b, a, False, transpose)[0]
    torch.testing.assert_close(own, torch.triangular_solve(b, a, False, transpose)[0])


def test_factors_without_a_rule_are_refused_and_have_a_derivative():
    a, d = (torch.complex(*drawn(4, 3)) for _ in range(2))
    cases = ((aten.linalg_qr.default, a, d), (aten._linalg_slogdet.default, a[:3], d[:3]))
    for operator, start, move in cases:
        with pytest.raises(UnsupportedOperator, match="rule.* at finite alpha.*direct"):
            differences(operator, 0.1, start, move)
        assert all(pair.difference.isfinite().all() for pair in differences(operator, 0.0, start, move)[:2])
    with pytest.raises(UnsupportedOperator, match="not square"):
        differences(aten.linalg_lu_factor_ex.default, 0.1, *drawn(4, 3))
    with pytest.raises(UnsupportedOperator, match="only the reduced factors"):
        differences(aten.linalg_qr.default, 0.1, *drawn(4, 3), "complete")
