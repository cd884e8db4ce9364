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
    with pytest.raises(ValueError, match=r"\(7, 7, 3, 2\) is not one matrix"):
        lt.kernel_alignment(kernel[..., :2], labels)


@pytest.mark.parametrize(
    "k, error, message",
    (
        (torch.empty(0, 0), ValueError, "k is empty"),
        (torch.ones(7, 7, 0, 0), ValueError, "k is empty"),
        (torch.full((7, 7), torch.inf), ValueError, "k has entries that are not finite"),
        (torch.eye(7).int(), TypeError, r"k is of torch.int32: give .*\.double"),
        (torch.eye(7).cfloat(), TypeError, "k is of torch.complex64"),
        (torch.eye(7).tolist(), TypeError, "k is a list: give a tensor"),
    ),
)
def test_kernels_that_are_none(k, error, message):
    with pytest.raises(error, match=message):
        lt.kernel_alignment(k, torch.arange(len(k)) % 3)


@pytest.mark.parametrize(
    "y, error, message",
    (
        (torch.full((7, 1), torch.nan), ValueError, "y has entries that are not finite"),
        (torch.tensor([[1.0], [torch.inf]] + [[0.0]] * 5), ValueError, "y has entries that are not finite"),
        (torch.ones(7, 0), ValueError, r"give \(7,\) integer labels"),
        (torch.ones(7, 1).cfloat(), TypeError, "y is torch.complex64"),
        ([0, 1, 1, 0, 1, 1, 0], TypeError, "y is list: give a tensor"),
    ),
)
def test_labels_that_are_none(kernel, y, error, message):
    with pytest.raises(error, match=message):
        lt.kernel_alignment(kernel, y)


def test_labels_are_names_of_classes_and_scales_do_not_matter(kernel):
    labels = torch.tensor([2, 0, 4, 2, 2, 0, 4])
    expected = pytest.approx(lt.kernel_alignment(kernel, labels), rel=1e-12)
    assert lt.kernel_alignment(kernel, labels * 10**15 - 7) == expected
    for scale in (1e-200, 1e200):
        assert lt.kernel_alignment(scale * kernel, labels) == expected
    binary = labels == 2
    targets = binary[:, None].double()
    expected = pytest.approx(lt.kernel_alignment(kernel, targets), rel=1e-12)
    assert lt.kernel_alignment(kernel, binary) == expected
    for y in (1e-200 * targets, 1e200 * targets, targets + 1e4):
        assert lt.kernel_alignment(kernel, y) == pytest.approx(lt.kernel_alignment(kernel, targets), rel=1e-7)
