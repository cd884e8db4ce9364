"""Ridge regression by blocks of features against least squares on explicit ones."""

import pytest
import torch

from lazytorch.theory import feature_ridge as module
from lazytorch.theory.feature_ridge import DualRidge, PrimalRidge, count_features, feature_ridge
from lazytorch.theory.ridge import one_hot

from .slow_features import slow_features, slow_ridge

TRAIN, FITTED, OTHERS, FILTERS = 23, 17, 6, 5  # of 40 features


def solved(kind, problem):
    ridge = kind(*problem, FITTED)
    for part in ridge.parts:
        ridge.add(part)
    return ridge


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (TRAIN + OTHERS, 1, 22, 22), generator=generator, dtype=torch.uint8)
    filters = 0.5 * torch.randn(FILTERS, 1, 6, 6, generator=generator, dtype=torch.float64)
    return images, filters, one_hot(torch.arange(TRAIN) % 3, 3)


@pytest.mark.parametrize("kind", [DualRidge, PrimalRidge])
def test_outputs_are_those_of_least_squares(problem, kind, monkeypatch):
    monkeypatch.setattr(module, "FILTERS", 2)
    monkeypatch.setattr(module, "IMAGES", 4)
    images, filters, targets = problem
    features, ridge = slow_features(images, filters), solved(kind, problem)
    assert len(ridge.parts) > 2 and count_features(images, filters) == features.shape[1] == 40
    held_out = dict(zip((1e-1, 1e-4), ridge.held_out_outputs((1e-1, 1e-4)), strict=True))
    for regulariser, outputs in held_out.items():
        weights = slow_ridge(features[:FITTED], targets[:FITTED], regulariser)
        torch.testing.assert_close(outputs, features[FITTED:TRAIN] @ weights, rtol=1e-9, atol=1e-9)
    expected = features @ slow_ridge(features[:TRAIN], targets, 1e-3)
    torch.testing.assert_close(ridge.outputs(1e-3), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", [DualRidge, PrimalRidge])
def test_blocks_change_nothing_beyond_rounding(problem, kind, monkeypatch):
    whole = solved(kind, problem).outputs(1e-2)
    monkeypatch.setattr(module, "FILTERS", 2)
    monkeypatch.setattr(module, "IMAGES", 5)
    torch.testing.assert_close(solved(kind, problem).outputs(1e-2), whole, rtol=1e-10, atol=1e-11)


def test_float32_convolutions_change_outputs_by_their_rounding(problem):
    images, filters, targets = problem
    exact = solved(DualRidge, problem).outputs(1e-2)
    single = solved(DualRidge, (images, filters.float(), targets)).outputs(1e-2)
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, exact, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", [DualRidge, PrimalRidge])
def test_too_small_a_regulariser_has_no_outputs(problem, kind):
    ridge = solved(kind, problem)
    first, second = ridge.held_out_outputs((-1.0, 1e-2))
    assert first is None and second.shape == (TRAIN - FITTED, 3) and ridge.outputs(-1.0) is None


def test_dual_where_there_are_fewer_images_than_features(problem):
    images, filters, targets = problem
    assert isinstance(feature_ridge(images, filters[:3], targets, FITTED), DualRidge)  # 24 features
    assert isinstance(feature_ridge(images, filters[:2], targets, FITTED), PrimalRidge)  # 16
