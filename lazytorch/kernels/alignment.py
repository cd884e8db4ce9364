"""How well a kernel agrees with the labels."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .matrix import check_kernel, symmetric_matrix


def kernel_alignment(k: Tensor, y: Tensor) -> float:
    """The centered alignment <HkH, H Y Y^T H>_F / (|HkH|_F |H Y Y^T H|_F), H = I - 1 1^T / n, in [-1, 1].

    It is not negative for positive semi-definite k. In float64. Cost: n^2 C operations, memory a few n^2 float64.

    Args:
        k: (n, n), a trace kernel; a full one (n, n, K, K) is traced over its outputs.
        y: (n,) integer labels, of which each different one is a class with a one-hot target, or (n, C) targets.

    Raises:
        TypeError: k is not a tensor of real floating numbers, or y not a tensor of real ones.
        ValueError: the shapes do not fit, k or y is empty or not finite, k is not symmetric, or k or y is constant, for
            which nothing is defined.

    Source: Cortes, Mohri & Rostamizadeh, "Algorithms for Learning Kernels Based on Centered Alignment", JMLR 2012,
    Definition 4.
    """
    check_kernel(k, "k")
    if k.ndim == 4 and k.shape[2] == k.shape[3]:
        k = k.diagonal(dim1=2, dim2=3).sum(-1)
    kernel = symmetric_matrix(k)
    targets = _targets(y, len(kernel)).to(kernel)
    kernel, targets = kernel / kernel.abs().max(), targets / targets.abs().max()
    centered = kernel - kernel.mean(0)
    centered = centered - centered.mean(1, keepdim=True)
    deviations = targets - targets.mean(0)
    for name, matrix, whole in (("k", centered, kernel), ("y", deviations, targets)):
        if not matrix.norm() > 1e-12 * whole.norm():
            raise ValueError(f"{name} is constant over the inputs, so that its alignment is not defined: vary it")
    labels = (deviations / deviations.norm()) @ (deviations / deviations.norm()).T
    cosine = (centered / centered.norm() * (labels / labels.norm())).sum().item()
    return min(1.0, max(-1.0, cosine))


def _targets(y: Tensor, n: int) -> Tensor:
    """(n, C): those given, or one-hot ones of the classes that there are."""
    if not isinstance(y, Tensor) or y.is_complex():
        found = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"y is {found}: give a tensor of integer labels or real targets")
    if y.ndim == 1 and not y.is_floating_point() and len(y) == n:
        return F.one_hot(torch.unique(y, return_inverse=True)[1])
    if y.ndim == 2 and len(y) == n and y.shape[1]:
        if not y.isfinite().all():
            raise ValueError("y has entries that are not finite: give targets that are numbers")
        return y
    raise ValueError(f"y is {y.dtype} {tuple(y.shape)} for {n} inputs: give ({n},) integer labels or ({n}, C) targets")
