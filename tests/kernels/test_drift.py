"""Drift and distance of kernels against their formulas."""

import math

import pytest
import torch

import lazytorch as lt

MEASURES = (lt.kernel_drift, lt.kernel_distance)


def test_drift_and_distance():
    k0 = torch.randn(3, 3, 2, 2, dtype=torch.float64)
    kt = k0 + 0.1 * torch.randn_like(k0)
    assert lt.kernel_drift(k0, kt) == pytest.approx(((kt - k0).norm() / k0.norm()).item())
    cosine = torch.cosine_similarity(k0.flatten(), kt.flatten(), dim=0).item()
    assert lt.kernel_distance(k0, kt) == pytest.approx(1 - cosine)
    assert lt.kernel_distance(k0, 3 * k0) == pytest.approx(0, abs=1e-15)
    assert lt.kernel_drift(k0, 3 * k0) == pytest.approx(2)


def test_they_do_not_overflow():
    k0 = torch.randn(3, 3, dtype=torch.float64)
    kt = k0 + 0.1 * torch.randn_like(k0)
    for measure in MEASURES:
        assert measure(1e200 * k0, 1e200 * kt) == pytest.approx(measure(k0, kt), rel=1e-12)
        assert measure(1e-200 * k0, 1e-200 * kt) == pytest.approx(measure(k0, kt), rel=1e-12)
        assert measure(k0, k0) == 0


def test_what_is_not_defined_is_no_number():
    zero, k = torch.zeros(2, 2), torch.eye(2)
    assert lt.kernel_drift(k, zero) == pytest.approx(1) and math.isnan(lt.kernel_drift(zero, k))
    assert math.isnan(lt.kernel_distance(k, zero)) and math.isnan(lt.kernel_distance(zero, k))


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    "other, error, message",
    (
        (torch.eye(3)[:2], ValueError, r"\(3, 3\) and \(2, 3\)|\(2, 3\) and \(3, 3\)"),
        (torch.ones(3, 3, 2), ValueError, "shapes"),
        (torch.empty(0, 0), ValueError, r"k. is empty, \(0, 0\)"),
        (torch.full((3, 3), torch.nan), ValueError, "k. has entries that are not finite"),
        (torch.full((3, 3), torch.inf), ValueError, "k. has entries that are not finite"),
        (torch.eye(3).cfloat(), TypeError, "k. is of torch.complex64"),
        (torch.eye(3).int(), TypeError, "k. is of torch.int32"),
        (torch.eye(3).numpy(), TypeError, "k. is a ndarray: give a tensor"),
        (1.0, TypeError, "k. is a float"),
    ),
)
def test_refusals(measure, other, error, message):
    for pair in ((torch.eye(3), other), (other, torch.eye(3))):
        with pytest.raises(error, match=message):
            measure(*pair)
