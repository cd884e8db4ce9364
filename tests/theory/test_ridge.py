"""Ridge regression against the solutions of its normal equations."""

import pytest
import torch

from lazytorch.theory.ridge import best_regulariser, coefficients, hold_out, one_hot


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 12, generator=generator, dtype=torch.float64)
    return features, one_hot(torch.arange(30) % 3, 3)


def test_primal_and_dual_are_least_squares(problem):
    features, targets = problem
    ridge = 1e-2 * features.square().sum().item() / 12  # r m of the primal
    rows = torch.cat([features, ridge**0.5 * torch.eye(12, dtype=torch.float64)])
    reference = torch.linalg.lstsq(rows, torch.cat([targets, torch.zeros(12, 3, dtype=torch.float64)])).solution
    primal = coefficients(features.T @ features, features.T @ targets, 1e-2)
    torch.testing.assert_close(primal, reference, rtol=1e-11, atol=1e-13)
    dual = coefficients(features @ features.T, targets, 1e-2 * 30 / 12)  # the same ridge over another mean
    torch.testing.assert_close(features.T @ dual, reference, rtol=1e-11, atol=1e-13)


def test_too_small_a_regulariser_gives_none(problem):
    features, targets = problem
    assert coefficients(features @ features.T, targets, -1e-3) is None


def test_best_is_the_most_accurate_and_of_equals_the_largest():
    assert best_regulariser({1e-1: 0.5, 1e-2: 0.7, 1e-3: 0.7, 1e-4: None}) == 1e-2
    with pytest.raises(ValueError, match="no regulariser of 0.1 is large enough"):
        best_regulariser({0.1: None})


def test_held_out_images_are_balanced_and_the_others_are_all_the_others():
    labels = torch.arange(50) % 5
    fitted, held_out = hold_out(labels, seed=3)
    assert sorted([*fitted.tolist(), *held_out.tolist()]) == list(range(50))
    assert labels[held_out].bincount().tolist() == [2] * 5
    assert not torch.equal(held_out, hold_out(labels, seed=4)[1])
    with pytest.raises(ValueError, match="leaves none of class"):
        hold_out(torch.arange(5), seed=0)
