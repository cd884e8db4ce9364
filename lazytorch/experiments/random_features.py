"""Ridge regression on random convolutional features: the row "random features" of Figure 3(b)."""

import shutil
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..reports import Figure, Panel, Report, Table
from ..reports.paper import FIGURE_3B_BARS, RANDOM_FEATURES
from ..theory.feature_ridge import FeatureRidge, count_features, feature_ridge
from ..theory.random_features import check_size, draw_filters
from ..theory.ridge import accuracy, best_regulariser, hold_out, one_hot
from .accumulation import accumulate
from .fields import key
from .problem import ImageExperiment, Images
from .run import Run


@dataclass(frozen=True)
class RandomFeatures(ImageExperiment):
    """Ridge regression on whitened random patches, a two-sided rectifier and average pooling, a linear classifier.

    Images are scaled to [0, 1] and nothing else. The regulariser is the best on a fifth of the training images, held
    out class-balanced; then all of them are fitted. Convolutions are in float32, which moves outputs by 3e-6 at a
    regulariser of 1e-3 (600 images of CIFAR-10, 128 filters), all else in float64. Cost: see
    :class:`lazytorch.theory.feature_ridge.DualRidge`, used where there are fewer training images than features, and
    :class:`lazytorch.theory.feature_ridge.PrimalRidge`.
    """

    filters: int = key(1600, "patches of training images, each with 18 features of a 32x32 image", at_least=1)
    regularisers: tuple[float, ...] = key(
        (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5), "tried, in means of |F(x)|^2", above=0
    )
    checkpoint_seconds: float = key(60.0, "between checkpoints of the Gram matrix", at_least=0, result=False)

    report: ClassVar[Report] = Report(
        Figure(
            "regulariser",
            Panel("regulariser", x="regulariser", y="validation_accuracy", xscale="log"),
            caption="Accuracy on held-out training images against the regulariser, in means of |F(x)|^2.",
        ),
        Figure(
            "filters",
            Panel("summary", x="filters", y=("train_accuracy", "test_accuracy"), xscale="log"),
            caption="Accuracy of the fit to all training images against the number of filters.",
        ),
        Table(columns=("regulariser", "validation_accuracy", "train_accuracy", "test_accuracy")),
        FIGURE_3B_BARS,
        RANDOM_FEATURES,
    )
    smoke = ("data=digits", "data.train_size=100", "data.test_size=50", "filters=30")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that the features have no use for."""
        super().check()
        self.check_whole_sets()
        if not self.regularisers or len(set(self.regularisers)) < len(self.regularisers):
            raise ValueError("give one or more regularisers, none of them twice, as regularisers=[1e-1,1e-2]")
        if self.data.mean is not None or self.data.std is not None:
            raise ValueError("the images are scaled to [0, 1] alone: set data.mean=null and data.std=null")

    def prepare(self, run: Run) -> tuple[Tensor, Tensor]:
        """Indices of the training images to fit and of those held out.

        Raises:
            ValueError: the images are smaller than a patch, or a class has too few of them.
        """
        check_size(run.problem.train.images)
        return hold_out(run.problem.train.labels, self.seed)

    def run(self, run: Run) -> dict:
        """regulariser.csv: the accuracy on the held-out images by regulariser."""
        problem, (fitted, held_out) = run.problem, run.prepared
        order = torch.cat([fitted, held_out])
        labels = torch.cat([problem.train.labels[order], problem.test.labels])
        ridge = self._ridge(problem, order, len(fitted))
        checkpoint = run.directory.checkpoint("gram")
        accumulate(ridge.total, ridge.parts, ridge.add, checkpoint, self.checkpoint_seconds, "features")
        accuracies = self._scan(run, ridge, labels[len(fitted) : len(order)])
        regulariser, outputs = _refit(ridge, accuracies)
        shutil.rmtree(checkpoint.parent, ignore_errors=True)
        return {
            "test_accuracy": accuracy(outputs[len(order) :], labels[len(order) :]),
            "train_accuracy": accuracy(outputs[: len(order)], labels[: len(order)]),
            "validation_accuracy": accuracies[regulariser],
            "regulariser": regulariser,
            "features": count_features(ridge.images, ridge.filters),
            "filters": self.filters,
        }

    def _ridge(self, problem: Images, order: Tensor, fitted: int) -> FeatureRidge:
        train, test, device = problem.train, problem.test, problem.device
        images = torch.cat([train.images[order], test.images]).to(device)
        filters = draw_filters(train.images, self.filters, self.seed).float().to(device)
        return feature_ridge(images, filters, one_hot(train.labels[order], len(train.classes)).to(device), fitted)

    def _scan(self, run: Run, ridge: FeatureRidge, labels: Tensor) -> dict[float, float | None]:
        """The accuracy on the held-out images by regulariser, None where it is too small."""
        known = {row["regulariser"] for row in run.table("regulariser")}
        left = [regulariser for regulariser in self.regularisers if regulariser not in known]
        for regulariser, outputs in zip(run.progress(left, "regularisers"), ridge.held_out_outputs(left), strict=True):
            found = None if outputs is None else accuracy(outputs, labels)
            run.part("regulariser", lambda found=found: {"validation_accuracy": found}, regulariser=regulariser)
        return {row["regulariser"]: row["validation_accuracy"] for row in run.table("regulariser")}


def _refit(ridge: FeatureRidge, accuracies: dict[float, float | None]) -> tuple[float, Tensor]:
    """The best regulariser that is large enough for all training images too, and the outputs on all images."""
    best = best_regulariser(accuracies)
    outputs = ridge.outputs(best)
    return (best, outputs) if outputs is not None else _refit(ridge, accuracies | {best: None})
