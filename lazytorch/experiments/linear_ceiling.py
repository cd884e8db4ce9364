"""How good the linearized network could be: the optimum of its own training problem, by ridge regression."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from ..kernels import empirical_ntk, plan_ntk
from ..kernels.matrix import kernel_matrix, rounding_level
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.ridge import REGULARISERS, accuracy, best_regulariser, coefficients, hold_out, one_hot
from .fields import key
from .problem import NetworkExperiment
from .run import Run

TABLE = "regularisers"
FILES = ("train_kernel.npy", "test_kernel.npy")
ALL = (1e3, 1e2, 1e1, *REGULARISERS, 0.0)  # the largest eigenvalue is about n times the mean one
INTERPOLATES = 0.999  # of the training images


@dataclass(frozen=True)
class LinearCeiling(NetworkExperiment):
    """The optimum of the linearized network's training: ridge regression with the tangent kernel at w_0.

    Training at alpha = inf minimises |J theta - Y|^2 over theta, with J the Jacobian at w_0 on the n training images
    and Y their one-hot labels of K classes. With Theta = J J^T the tangent kernel and m its mean eigenvalue,

        theta_r = argmin |J theta - Y|^2 + r m |theta|^2,      f_r(x) = Theta(x, X) (Theta + r m I)^-1 Y.

    r -> 0 is where gradient flow from theta = 0 ends, the interpolation: what a trained network at alpha = inf lacks of
    it is due to the optimisation. The best r, chosen on a fifth of the training images, class-balanced, before all are
    fitted, is as good as the kernel gets: what it lacks of a trained network is due to the kernel. Test images choose
    nothing. The same data, model and seed as a training run's are the same images and w_0; but training may augment its
    images, here they are fitted as they are.

    kernel="full" is exact, with matrices of N = n K rows. kernel="trace" takes (Theta_trace / K) (x) I for Theta, with
    Theta_trace the sum over outputs: one kernel for all classes, N = n rows, the same r. That is exact where the last
    layer alone is trained, and the limit of infinite width. At finite width the mean over outputs averages part of the
    kernel's randomness away, so that it may do better than the network whose kernel it approximates: compare both at
    small n.

    Cost: the kernels, of n (n + 1) / 2 pairs of training images and n m pairs with the m test images, written tile by
    tile to files in the run directory, from which a run that was killed goes on; then 31 Cholesky factorisations in
    float64, 8 N^3 operations in all. Memory: ``max_memory`` for the kernels, then about 4 N^2 numbers of float64. Disk:
    N (N + M) numbers of ``precision`` until the end, with M = m or m K.

    Sources: Chizat, Oyallon & Bach, NeurIPS 2019, section 3.2 and appendix C; Jacot, Gabriel & Hongler, NeurIPS 2018.
    """

    precision: str = key(
        "float64", "of the kernel: float64 or float32; solves are in float64", one_of=("float64", "float32")
    )
    kernel: str = key(
        "trace", "trace: one kernel for all outputs, approximate; full: exact, n K rows", one_of=("trace", "full")
    )
    max_memory: str = key(
        "2GiB", "of the kernels' workspace: more is faster; a run that goes on must keep it", result=False
    )

    report: ClassVar[Report] = Report(
        Figure(
            "ceiling",
            Panel(
                TABLE,
                x="regulariser",
                y=("train_accuracy", "validation_accuracy", "test_accuracy"),
                xscale="log",
            ),
            caption="The training problem of the linearized network, solved: ridge regression with the tangent kernel "
            "at w_0, by regulariser over the kernel's mean eigenvalue. Validation images, a fifth of the training "
            "images, choose it. Gradient flow ends at 0. With kernel=trace all outputs share one kernel, their mean, "
            "an approximation that may do better than the network itself. Training images are not augmented.",
        ),
        Table(
            columns=(
                "train_accuracy",
                "test_accuracy",
                "validation_accuracy",
                "regulariser",
                "interpolation_train_accuracy",
                "interpolation_test_accuracy",
                "interpolation_regulariser",
            )
        ),
        Table(TABLE),
        Claim(
            "the optimum of the linearized network fits the training images: what its training leaves unfitted is "
            "due to the optimisation",
            lambda summary: summary["interpolation_train_accuracy"] >= INTERPOLATES,
            source="Chizat, Oyallon & Bach 2019, appendix C",
        ),
    )

    smoke = ("data=digits", "scale=smoke", "data.train_size=50", "data.test_size=50")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that whole sets of images have no use for."""
        super().check()
        self.check_whole_sets()

    def prepare(self, run: Run) -> None:
        """Raise ValueError if images are too few to hold some out, or the network has no kernel within the memory."""
        train, _ = run.problem.data(self.precision)
        hold_out(train.labels.cpu(), self.seed)
        plan_ntk(run.problem.net, train.head(len(train))[0], kind=self.kernel, max_memory=self.max_memory)

    def run(self, run: Run) -> dict:
        """regularisers.csv: accuracies by regulariser, empty where the kernel is too coarse for it."""
        if self.resume is False:
            _remove_kernels(run.path)
        rows = run.part(TABLE, lambda: self._rows(run))
        _remove_kernels(run.path)
        return summarise(rows)

    def _rows(self, run: Run) -> list[dict]:
        """Accuracies of fits to all training images and, where the others are held out, on those."""
        problem, device = run.problem, run.problem.device
        (x, labels), (test_x, test_labels) = (data.head(len(data)) for data in problem.data(self.precision))
        kernel, test_kernel = self._kernels(run, x, test_x)
        targets = one_hot(labels, len(problem.train.classes))
        fitted, held_out = (indices.to(device) for indices in hold_out(labels.cpu(), self.seed))
        regularisers = resolved(kernel)

        part = kernel[fitted][:, fitted], targets[fitted], kernel[held_out][:, fitted]
        validation = [
            {"validation_accuracy": _accuracy(held, labels[held_out])}
            for _, held in fits(*part, run.progress(regularisers, "validation"))
        ]
        del part
        whole = [
            {"train_accuracy": _accuracy(train, labels), "test_accuracy": _accuracy(test, test_labels)}
            for train, test in fits(kernel, targets, test_kernel, run.progress(regularisers, "all images"))
        ]
        found = dict(zip(regularisers, map(dict.__or__, validation, whole), strict=True))
        return [{"regulariser": r} | found.get(r, {"validation_accuracy": None}) for r in ALL]

    def _kernels(self, run: Run, x: Tensor, test_x: Tensor) -> list[Tensor]:
        """Of the training images, (n, n), and of test with training images, (m, n); of kind full (..., K, K)."""
        options: dict[str, Any] = {"kind": self.kernel, "max_memory": self.max_memory}
        pairs = zip(FILES, ((x, None), (test_x, x)), strict=True)
        kernels = [empirical_ntk(run.problem.net, *pair, file=run.path / name, **options) for name, pair in pairs]
        return [kernel.to(run.problem.device) for kernel in kernels]


def fits(
    kernel: Tensor, targets: Tensor, other_kernel: Tensor, regularisers: Iterable[float]
) -> Iterator[tuple[Tensor | None, Tensor | None]]:
    """Outputs of kernel ridge regression at the fitted and at other inputs, for each regulariser, in float64.

    Theta (Theta + r m I)^-1 Y and Theta_other (Theta + r m I)^-1 Y, m the mean eigenvalue of Theta. Cost of each:
    N^3 / 3 operations, N = n for trace kernels and n K for full ones; memory 3 N^2 float64 and the other kernel.

    Args:
        kernel: (n, n), a trace kernel, or (n, n, K, K), a full one, of the fitted inputs.
        targets: (n, K).
        other_kernel: (m, n) or (m, n, K, K), of the other inputs with the fitted ones.

    Yields:
        (n, K) and (m, K), or None and None where the regulariser is too small.
    """
    gram, other = kernel_matrix(kernel), kernel_matrix(other_kernel)
    for regulariser in regularisers:
        dual = coefficients(gram, targets.reshape(len(gram), -1), regulariser)
        if dual is None:
            yield None, None
        else:
            yield (gram @ dual).view_as(targets), (other @ dual).view(-1, targets.shape[1])


def resolved(kernel: Tensor) -> list[float]:
    """The regularisers, and 0, that a kernel (n, n) or (n, n, K, K) is not too coarse for.

    All, if Theta is positive definite by more than its rounding, as one factorisation of Theta less the rounding shows;
    else those above the rounding, over Theta's mean eigenvalue.
    """
    gram = kernel_matrix(kernel)
    level = rounding_level(kernel) / gram.diagonal().mean().item()
    definite = coefficients(gram, gram[:, :1], -level) is not None
    return [regulariser for regulariser in ALL if definite or regulariser > level]


def summarise(rows: Sequence[Mapping]) -> dict:
    """The row of the best validation accuracy, and the accuracies of the smallest regulariser that there are."""
    by_regulariser = {row["regulariser"]: row for row in rows}
    best = best_regulariser({r: row["validation_accuracy"] for r, row in by_regulariser.items()})
    least = min(r for r, row in by_regulariser.items() if row["train_accuracy"] is not None)
    chosen, interpolation = by_regulariser[best], by_regulariser[least]
    return {
        name: chosen[name] for name in ("test_accuracy", "train_accuracy", "validation_accuracy", "regulariser")
    } | {f"interpolation_{name}": interpolation[name] for name in ("train_accuracy", "test_accuracy", "regulariser")}


def _accuracy(outputs: Tensor | None, labels: Tensor) -> float | None:
    return None if outputs is None else accuracy(outputs, labels)


def _remove_kernels(folder: Path) -> None:
    for name in FILES:
        for path in (folder / name, folder / f"{name}.tiles"):
            path.unlink(missing_ok=True)
