"""How well a kernel agrees with the labels."""

import torch.nn.functional as F
from torch import Tensor

from .matrix import symmetric_matrix


def kernel_alignment(k: Tensor, y: Tensor) -> float:
    """The centered alignment <HkH, H Y Y^T H>_F / (|HkH|_F |H Y Y^T H|_F), H = I - 1 1^T / n, in [-1, 1].

    It is not negative for positive semi-definite k. In float64. Source: Cortes, Mohri & Rostamizadeh, "Algorithms for
    Learning Kernels Based on Centered Alignment", JMLR 2012, Definition 4.

    Args:
        k: (n, n), a trace kernel; a full one (n, n, K, K) is traced over its outputs.
        y: (n,) integer labels, which become one-hot targets, or (n, C) targets.

    Raises:
        ValueError: the shapes do not fit, k is not symmetric, or k or y is constant, for which nothing is defined.
    """
    if k.ndim == 4:
        k = k.diagonal(dim1=2, dim2=3).sum(-1)
    kernel = symmetric_matrix(k)
    targets = _targets(y, len(kernel)).to(kernel)
    targets = targets - targets.mean(0)
    kernel = kernel - kernel.mean(0)
    kernel = kernel - kernel.mean(1, keepdim=True)
    labels = targets @ targets.T
    for name, matrix, scale in (("k", kernel, k), ("y", labels, y)):
        if matrix.norm() <= 1e-12 * scale.double().norm():
            raise ValueError(f"{name} is constant over the inputs, so that its alignment is not defined: vary it")
    cosine = (kernel / kernel.norm() * (labels / labels.norm())).sum().item()
    return min(1.0, max(-1.0, cosine))


def _targets(y: Tensor, n: int) -> Tensor:
    if y.ndim == 1 and not y.is_floating_point() and len(y) == n:
        return F.one_hot(y.long() - y.min())
    if y.ndim == 2 and len(y) == n:
        return y
    raise ValueError(f"y is {y.dtype} {tuple(y.shape)} for {n} inputs: give ({n},) integer labels or ({n}, C) targets")
