"""Regression on features against explicit kernels and normal equations, in float64."""

import numpy as np
import pytest
import torch

from lazytorch.theory.regression import FeatureRegression
from lazytorch.theory.ridge import one_hot


def problem(n, d, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    fitted, others = (3 + 2 * torch.randn(size, d, generator=generator, dtype=torch.float64) for size in (n, 7))
    fitted[:, 1] = others[:, 1] = -13.8155  # a constant feature
    others[0, 1] = 2
    return fitted.to(dtype), others.to(dtype), one_hot(torch.arange(n) % 3, 3)


def reference(fitted, others, targets, regulariser, bandwidth):
    """By loops over pairs."""
    fitted, others, targets = (value.double().numpy() for value in (fitted, others, targets))
    scale = fitted.std(0)
    scale[1] = 1
    x, z = ((values - fitted.mean(0)) / scale for values in (fitted, others))
    mean = np.mean([np.sum((a - b) ** 2) for a in x for b in x])

    def kernel(a, b):
        return a @ b if bandwidth is None else np.exp(-np.sum((a - b) ** 2) / (bandwidth * mean))

    left, right = (np.array([[kernel(a, b) for b in x] for a in values]) for values in (x, z))
    ridge = regulariser * np.mean([kernel(a, a) for a in x]) * np.eye(len(x))
    found = np.linalg.solve(left + ridge, targets - targets.mean(0))
    return [values @ found + targets.mean(0) for values in (left, right)]


@pytest.mark.parametrize("bandwidth", [None, 0.3, 2.0])
@pytest.mark.parametrize(("n", "d"), [(11, 5), (11, 11), (11, 17)])
def test_is_kernel_regression_whatever_it_is_done_on(n, d, bandwidth):
    regression = FeatureRegression(*problem(n, d))
    for regulariser in (1.0, 0.03):
        found = regression.outputs(regulariser, bandwidth)
        expected = reference(*problem(n, d), regulariser, bandwidth)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-10)


@pytest.mark.parametrize("bandwidth", [None, 1.0])
@pytest.mark.parametrize("d", [5, 17])
def test_single_precision_is_that_of_the_features(d, bandwidth):
    found = FeatureRegression(*problem(11, d, torch.float32)).outputs(0.1, bandwidth)
    for ours, theirs in zip(found, reference(*problem(11, d), 0.1, bandwidth), strict=True):
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-4)


def test_features_that_are_given_stay_as_they_are():
    fitted, others, targets = problem(11, 5)
    FeatureRegression(fitted, others, targets).outputs(0.1, 1.0)
    for value, before in zip((fitted, others, targets), problem(11, 5), strict=True):
        torch.testing.assert_close(value, before, rtol=0, atol=0)


@pytest.mark.parametrize("bandwidth", [None, 1e12])
def test_too_small_a_regulariser_gives_none(bandwidth):
    fitted, others, targets = problem(11, 3, torch.float32)
    copies = [features.repeat(1, 6) for features in (fitted, others)]  # kernels of rank 2 and 1
    assert FeatureRegression(*copies, targets).outputs(1e-12, bandwidth) is None
