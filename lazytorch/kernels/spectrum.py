"""The spectrum of a tangent kernel, and what it says about training."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .matrix import rounding_level, symmetric_matrix


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The eigenvalues of a kernel.

    Attributes:
        eigenvalues: (N,) float64, from the largest to the smallest.
        rounding: the level below which they are rounding of the kernel's own type (see ``rounding_level``).
    """

    eigenvalues: Tensor
    rounding: float

    @property
    def rank(self) -> int:
        """The number of eigenvalues above the rounding."""
        return int((self.eigenvalues > self.rounding).sum())

    @property
    def condition_number(self) -> float:
        """The largest eigenvalue over the smallest; inf where the smallest is not above the rounding."""
        smallest = self.eigenvalues[-1].item()
        return self.eigenvalues[0].item() / smallest if smallest > self.rounding else math.inf

    @property
    def effective_rank(self) -> float:
        """exp(-sum_i p_i log p_i), p the eigenvalues over their sum, in [1, N] (Roy & Vetterli 2007)."""
        positive = self.eigenvalues.clamp(min=0)
        share = positive / positive.sum()
        return torch.special.entr(share).sum().exp().item()


def kernel_spectrum(kernel: Tensor) -> Spectrum:
    """All eigenvalues of a kernel of inputs with themselves, full (n, n, K, K), so N = n K, or trace (n, n), N = n.

    In float64 whatever the kernel's type. Cost: about 4 N^3 / 3 operations, memory 3 N^2 float64. For a few of
    the eigenvalues of a kernel too large to form, ``top_eigenpairs``.

    Raises:
        TypeError: the kernel is not a tensor of real floating numbers.
        ValueError: it is empty, of another kind, not symmetric, not finite, or zero.
    """
    matrix = symmetric_matrix(kernel)
    if not matrix.any():
        raise ValueError("the kernel is zero and has no spectrum: look at the network's weights and inputs")
    return Spectrum(torch.linalg.eigvalsh(matrix).flip(0), rounding_level(kernel))
