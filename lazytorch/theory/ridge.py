"""Ridge regression onto one-hot targets, its regulariser chosen on held-out images: what linear baselines share."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..data import subset

REGULARISERS = tuple(10.0**-power for power in range(11))
HELD_OUT = 0.2  # of the training images


def hold_out(labels: Tensor, seed: int, share: float = HELD_OUT) -> tuple[Tensor, Tensor]:
    """Indices of the images to fit and of those held out, ``share`` of all, drawn class-balanced with ``seed``.

    Raises:
        ValueError: a class has too few images.
    """
    return subset.hold_out(labels, max(round(share * len(labels)), len(labels.unique())), seed)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(n, classes) in float64."""
    return torch.nn.functional.one_hot(labels, classes).double()


def accuracy(outputs: Tensor, labels: Tensor) -> float:
    """The share of ``outputs`` (n, K) whose largest is that of the label (n,)."""
    return (outputs.argmax(1) == labels.to(outputs.device)).sum().item() / len(labels)


def coefficients(gram: Tensor, targets: Tensor, regulariser: float) -> Tensor | None:
    """(G + r m I)^-1 T of a (d, d) positive semi-definite G and (d, K) T, with m = tr G / d, the mean eigenvalue.

    Of a kernel matrix K(X, X) and targets Y it gives c with f(x) = K(x, X) c; of the features' F^T F and F^T Y it gives
    w with f(x) = F(x) w. In the type of G, by Cholesky's factorisation: d^3 / 3 operations, memory 2 d^2 numbers.

    Returns:
        (d, K), or None where the matrix is not positive definite within rounding: the regulariser is too small.
    """
    regularised = gram.clone()
    regularised.diagonal().add_(regulariser * gram.diagonal().mean())
    factor, failed = torch.linalg.cholesky_ex(regularised)
    if failed.item():
        return None
    return torch.cholesky_solve(targets.to(gram.dtype), factor)


def best_regulariser(accuracies: Mapping[float, float | None]) -> float:
    """The one with the largest accuracy on the held-out images, and of equals the largest.

    Raises:
        ValueError: every regulariser was too small.
    """
    found = [(accuracy, regulariser) for regulariser, accuracy in accuracies.items() if accuracy is not None]
    if not found:
        raise ValueError(
            f"no regulariser of {', '.join(f'{r:g}' for r in accuracies)} is large enough: try larger ones"
        )
    return max(found)[1]
