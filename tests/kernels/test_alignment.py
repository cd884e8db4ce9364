"""Centered alignment against its definition with explicit matrices."""

import pytest
import torch

import lazytorch as lt


def definition(kernel, targets):
    n = len(kernel)
    centering = torch.eye(n, dtype=torch.float64) - torch.full((n, n), 1 / n, dtype=torch.float64)
    left = centering @ kernel @ centering
    right = centering @ targets @ targets.T @ centering
    return ((left * right).sum() / (left.square().sum() * right.square().sum()).sqrt()).item()


@pytest.fixture
def kernel():
    torch.manual_seed(0)
    jacobian = torch.randn(7, 3, 30, dtype=torch.float64) + 1
    return torch.einsum("ikp,jlp->ijkl", jacobian, jacobian)


def test_is_the_definition_for_labels_and_targets(kernel):
    trace = torch.einsum("ijkk->ij", kernel)
    labels = torch.tensor([2, 0, 4, 2, 2, 0, 4])
    one_hot = (labels[:, None] == torch.tensor([0, 2, 4])).double()
    expected = definition(trace, one_hot)
    for k in (trace, kernel):
        assert lt.kernel_alignment(k, labels) == pytest.approx(expected, rel=1e-12)
    targets = torch.randn(7, 2, dtype=torch.float64)
    assert lt.kernel_alignment(trace, targets) == pytest.approx(definition(trace, targets), rel=1e-12)
    assert lt.kernel_alignment(trace.float(), labels) == pytest.approx(expected, rel=1e-5)


def test_is_one_for_the_labels_kernel_and_does_not_see_scale_or_a_constant():
    targets = torch.randn(9, 4, dtype=torch.float64)
    k = targets @ targets.T
    assert lt.kernel_alignment(k, targets) == pytest.approx(1, abs=1e-14)
    assert lt.kernel_alignment(100 * k + 5, targets) == pytest.approx(1, abs=1e-14)
    assert lt.kernel_alignment(-k, targets) == pytest.approx(-1, abs=1e-14)


def test_refusals(kernel):
    labels = torch.arange(7) % 3
    with pytest.raises(ValueError, match="y is constant"):
        lt.kernel_alignment(kernel, torch.ones(7, dtype=torch.long))
    with pytest.raises(ValueError, match="k is constant"):
        lt.kernel_alignment(torch.ones(7, 7), labels)
    with pytest.raises(ValueError, match=r"give \(7,\) integer labels"):
        lt.kernel_alignment(kernel, labels.double())
    with pytest.raises(ValueError, match=r"for 7 inputs"):
        lt.kernel_alignment(kernel, labels[:6])
    with pytest.raises(ValueError, match="not symmetric"):
        lt.kernel_alignment(torch.randn(7, 7), labels)
    with pytest.raises(ValueError, match="inputs with themselves"):
        lt.kernel_alignment(kernel[:, :5], labels)
