"""Prior features: the scattering transform and a regression on it, a row of the paper's figure 3(b)."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from torch import Tensor

from ..data import ImageSet
from ..reports import Figure, Panel, Report, Table
from ..reports.paper import FIGURE_3B_BARS, PRIOR_FEATURES
from ..theory.regression import FeatureRegression
from ..theory.ridge import accuracy, best_regulariser, hold_out, one_hot
from ..theory.scattering import Scattering
from ..training.placement import free_memory
from ..training.precision import data_type, matmul_precision
from .fields import key
from .problem import ImageExperiment, Images
from .run import Run

OFFSET = 1e-6  # added to the coefficients of images in [0, 1] before the logarithm, as by Oyallon & Mallat
BATCH = 8  # images whose moduli stay in the cache of a CPU core


@dataclass(frozen=True)
class PriorFeatures(ImageExperiment):
    """Ridge regression, linear or with a Gaussian kernel, on log(|S x| + 1e-6), standardised, S the scattering
    transform of order two of each colour channel.

    The regulariser, in means of k(x, x), and the bandwidth are those with the best accuracy on a class-balanced
    fifth of the training images, which is held out; the regression with them is then fitted on all training images.
    Means and standard deviations are of the fitted images. A run that was killed computes the features again, which is
    deterministic, and goes on with the candidates that it has not tried.

    Cost: 6 ms an RGB image of 32x32 for the features on a CPU core; n^2 d, and n^3 / 3 a candidate, for n training
    images and d features (15552 there). Memory: 3 n d + 4 n^2 numbers, 4 d^2 for the latter where ``ridge`` has d < n:
    of all images of CIFAR-10 in float32 14 GiB for ``ridge`` and 51 GiB for ``rbf``.
    """

    classifier: str = key("ridge", "ridge: a linear regression; rbf: with a Gaussian kernel", one_of=("ridge", "rbf"))
    octaves: int = key(2, "octaves J of the wavelets: features are sampled every 2^J pixels", at_least=1)
    angles: int = key(8, "directions L of the wavelets", at_least=4)
    regularisers: tuple[float, ...] = key(
        (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01), "those tried, in means of k(x, x)", above=0
    )
    bandwidths: tuple[float, ...] = key(
        (0.5, 1.0, 2.0), "of rbf, those tried: exp(-|x - y|^2 / (b D)), D the mean of |x - y|^2", above=0
    )
    precision: str = key("float32", "float32 or float64", one_of=("float32", "float64"))

    report: ClassVar[Report] = Report(
        FIGURE_3B_BARS,
        PRIOR_FEATURES,
        Table(columns=("classifier", "train_accuracy", "test_accuracy", "validation_accuracy", "regulariser")),
        Figure(
            "validation",
            Panel("candidates", x="regulariser", y="validation_accuracy", by="bandwidth"),
            caption="Accuracy on the held-out training images against the regulariser, by the kernel's bandwidth.",
        ),
        Table("candidates", title="candidates"),
    )
    smoke = ("scale=smoke", "data=digits", "data.train_size=200", "data.test_size=100")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that features of whole sets have no use for."""
        super().check()
        self.check_whole_sets()
        for name in ("regularisers", "bandwidths"):
            if not getattr(self, name):
                raise ValueError(f"{name}=[] has none to try: give one or more")

    def prepare(self, run: Run) -> tuple[Scattering, tuple[Tensor, Tensor]]:
        """The transform, and which training images are fitted and held out in the search.

        Raises:
            ValueError: images of this size have no such transform, they are too few to hold out some of each class, or
                the regression does not fit into the device's memory.
        """
        problem, dtype = run.problem, data_type(self.precision)
        scattering = Scattering(tuple(problem.train.images.shape[-2:]), self.octaves, self.angles)
        needed = self._numbers(problem, scattering) * dtype.itemsize
        there = free_memory(problem.device)
        if there is not None and needed > there:
            raise ValueError(
                f"the regression on {len(problem.train)} images takes {needed / 2**30:.0f} GiB of memory, and "
                f"{problem.device} has {there / 2**30:.0f} free: use data.train_size=..., classifier=ridge or "
                "precision=float32"
            )
        return scattering.to(problem.device, dtype), hold_out(problem.train.labels, self.seed)

    def run(self, run: Run) -> dict:
        """candidates.csv: the accuracy on the held-out images, by bandwidth and regulariser."""
        train, test = run.problem.train, run.problem.test
        with matmul_precision(self.precision):
            features, test_features = (self._features(run, images) for images in (train, test))
            best = self._search(run, features)
            outputs = _regression(features, test_features, train).outputs(best["regulariser"], best["bandwidth"])
        if outputs is None:
            raise ValueError(
                f"regulariser {best['regulariser']:g} is too small for {self.precision} on all images: try larger "
                "regularisers, or precision=float64"
            )
        return {
            "train_accuracy": accuracy(outputs[0], train.labels),
            "test_accuracy": accuracy(outputs[1], test.labels),
            **best,
            "features": features.shape[1],
        }

    def _search(self, run: Run, features: Tensor) -> dict:
        """The best row of candidates.csv, whose missing rows are made."""
        train, (_, (fitted, held_out)) = run.problem.train, run.prepared
        regression = cache(lambda: _regression(features[fitted], features[held_out], train.select(fitted)))
        for regulariser, bandwidth in run.progress(self._candidates, "candidates"):
            run.part(
                "candidates",
                lambda r=regulariser, b=bandwidth: _validation(regression(), r, b, train.labels[held_out]),
                regulariser=regulariser,
                bandwidth=bandwidth,
            )
        return self._best(run.table("candidates"))

    @property
    def _candidates(self) -> list[tuple[float, float | None]]:
        """(regulariser, bandwidth)."""
        bandwidths = self.bandwidths if self.classifier == "rbf" else (None,)
        return [(regulariser, bandwidth) for bandwidth in bandwidths for regulariser in self.regularisers]

    def _best(self, rows: list[dict]) -> dict:
        """The row with the best accuracy, and of equals one with the largest regulariser."""
        tried = sorted((row for row in rows if row["validation_accuracy"] is not None), key=_by_accuracy)
        best = {row["regulariser"]: row["validation_accuracy"] for row in tried}  # the last one stays
        regulariser = best_regulariser(dict.fromkeys(self.regularisers) | best)
        return max((row for row in tried if row["regulariser"] == regulariser), key=_by_accuracy)

    def _features(self, run: Run, images: ImageSet) -> Tensor:
        """(n, C paths H W / 4^J) on the device."""
        scattering, _ = run.prepared
        made = scattering.rows.new_empty(len(images), _width(run.problem, scattering))
        batches = list(zip(images.images.split(BATCH), made.split(BATCH), strict=True))
        for batch, rows in run.progress(batches, "features"):
            rows.copy_(prior_features(scattering, batch.to(made)))
        return made

    def _numbers(self, problem: Images, scattering: Scattering) -> int:
        """What features and regression hold at most."""
        n, m, d = len(problem.train), len(problem.test), _width(problem, scattering)
        regression = 4 * min(n, d) ** 2 if self.classifier == "ridge" else 4 * n**2 + 2 * n * m
        return (3 * n + 2 * m) * d + regression


def prior_features(scattering: Scattering, images: Tensor) -> Tensor:
    """log(|S x| + 1e-6) of images (n, C, H, W) of 0 ... 255 in the type of the transform, x = images / 255: (n, d)."""
    return scattering(images / 255).abs().add(OFFSET).log().flatten(1)


def _by_accuracy(row: dict) -> float:
    return row["validation_accuracy"]


def _width(problem: Images, scattering: Scattering) -> int:
    return problem.train.images.shape[1] * scattering.paths * len(scattering.rows) * len(scattering.columns)


def _regression(fitted: Tensor, others: Tensor, images: ImageSet) -> FeatureRegression:
    return FeatureRegression(fitted, others, one_hot(images.labels, len(images.classes)))


def _validation(search: FeatureRegression, regulariser: float, bandwidth: float | None, labels: Tensor) -> dict:
    outputs = search.outputs(regulariser, bandwidth)
    return {"validation_accuracy": None if outputs is None else accuracy(outputs[1], labels)}
