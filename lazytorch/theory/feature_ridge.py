"""Ridge regression on random features that are made block by block, and made again, but never held whole."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .random_features import pooled_features
from .ridge import coefficients

FILTERS, IMAGES = 64, 512  # of a block, in the dual and in the primal


class FeatureRidge:
    """argmin_w |F w - Y|^2 + r t |w|^2 over the training images, t the mean of |F(x)|^2, without intercept.

    ``total`` is the sum of what ``add`` adds for each of ``parts``; then there are outputs. It is float64, and ``add``
    is a function of the images, the filters and its part alone: a sum that is kept and gone on with has the same bits.

    Args:
        images: uint8 (n + m, C, H, W), n training images, first those to fit and then those held out, then m others.
        filters: (N, C, 6, 6), on the same device; the features are computed in their type.
        targets: (n, K) in float64, there too.
        fitted: how many of the training images are to fit.
    """

    parts: list[slice]
    total: Tensor

    def __init__(self, images: Tensor, filters: Tensor, targets: Tensor, fitted: int):
        self.images, self.filters, self.targets, self.fitted = images, filters, targets, fitted

    def add(self, part: slice) -> None:
        """Add a block to the total."""
        raise NotImplementedError

    def held_out_outputs(self, regularisers: Sequence[float]) -> Iterator[Tensor | None]:
        """Outputs (held out, K) of the fit without the held-out images on those, None where r is too small."""
        return self._outputs(regularisers, self.fitted, slice(self.fitted, len(self.targets)))

    def outputs(self, regulariser: float) -> Tensor | None:
        """Outputs (n + m, K) of the fit to all training images on all images, or None where r is too small."""
        return next(self._outputs([regulariser], len(self.targets), slice(len(self.images))))

    def _outputs(self, regularisers: Sequence[float], fitted: int, shown: slice) -> Iterator[Tensor | None]:
        """On the images ``shown``, of the fit to the first ``fitted``."""
        raise NotImplementedError


class DualRidge(FeatureRidge):
    """By the Gram matrix K(X, X): f(x) = K(x, X) c, with K += F_b F_b^T over blocks of filters.

    Memory: (n + m) n numbers in float64, 2 n^2 more to solve, and 1152 (n + m) for a block. Cost: features once,
    2 (n + m) n d operations for d features, and n^3 / 3 a regulariser.
    """

    def __init__(self, images: Tensor, filters: Tensor, targets: Tensor, fitted: int):
        super().__init__(images, filters, targets, fitted)
        self.parts = _blocks(0, len(filters), FILTERS)
        self.total = targets.new_zeros(len(images), len(targets))

    def add(self, part: slice) -> None:
        """Add F_b F_b^T of a block of filters."""
        features = pooled_features(self.images, self.filters[part]).double()
        self.total.addmm_(features, features[: len(self.targets)].T)

    def _outputs(self, regularisers: Sequence[float], fitted: int, shown: slice) -> Iterator[Tensor | None]:
        for regulariser in regularisers:
            solved = coefficients(self.total[:fitted, :fitted], self.targets[:fitted], regulariser)
            yield None if solved is None else self.total[shown, :fitted] @ solved


class PrimalRidge(FeatureRidge):
    """By the features' second moments F^T F and F^T Y, over blocks of images: f(x) = F(x) w.

    Memory: 2 d^2 numbers in float64 for d features, 3 d^2 more to solve, and 512 d for a block. Cost: features of the
    training images twice and of the others once, 2 n d^2 operations, and d^3 / 3 a regulariser.
    """

    def __init__(self, images: Tensor, filters: Tensor, targets: Tensor, fitted: int):
        super().__init__(images, filters, targets, fitted)
        self.parts = _blocks(0, fitted, IMAGES) + _blocks(fitted, len(targets), IMAGES)
        self.features = count_features(images, filters)
        # F^T [F, Y], of the images to fit and of those held out
        self.total = targets.new_zeros(2, self.features, self.features + targets.shape[1])

    def add(self, part: slice) -> None:
        """Add F_b^T [F_b, Y_b] of a block of images."""
        features = self._features(part)
        self.total[int(part.start >= self.fitted)].addmm_(features.T, torch.cat([features, self.targets[part]], 1))

    def _outputs(self, regularisers: Sequence[float], fitted: int, shown: slice) -> Iterator[Tensor | None]:
        moments = self.total[0] if fitted == self.fitted else self.total.sum(0)
        gram, right = moments[:, : self.features], moments[:, self.features :]
        share = self.features / fitted  # r counts in means of |F(x)|^2, coefficients() in means over features
        solved = [coefficients(gram, right, regulariser * share) for regulariser in regularisers]
        outputs: list[list[Tensor]] = [[] for _ in solved]
        for block in _blocks(shown.start or 0, shown.stop, IMAGES):
            features = self._features(block)
            for found, weights in zip(outputs, solved, strict=True):
                if weights is not None:
                    found.append(features @ weights)
        yield from (torch.cat(found) if found else None for found in outputs)

    def _features(self, part: slice) -> Tensor:
        return pooled_features(self.images[part], self.filters).double()


def feature_ridge(images: Tensor, filters: Tensor, targets: Tensor, fitted: int) -> FeatureRidge:
    """The dual where there are fewer training images than features, else the primal."""
    is_dual = len(targets) < count_features(images, filters)
    return (DualRidge if is_dual else PrimalRidge)(images, filters, targets, fitted)


def count_features(images: Tensor, filters: Tensor) -> int:
    """Features of an image."""
    return pooled_features(images[:1], filters[:1]).shape[1] * len(filters)


def _blocks(start: int, stop: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]
