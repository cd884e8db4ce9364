"""The deep linear toy f = alpha (w_1 ... w_L - 1), whose largest stable step is known at every alpha."""

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor


@overload
def deep_scalar_edge(layers: int, alpha: float) -> float: ...
@overload
def deep_scalar_edge(layers: int, alpha: Tensor) -> Tensor: ...
def deep_scalar_edge(layers, alpha):
    """The step (1 + 1/alpha)^(2/L - 2) / L on theta, above which descent on R = (f - 1)^2 leaves its solution.

    From w_l = 1 all w_l stay equal, and f = 1 at w = (1 + 1/alpha)^(1/L). There the gradient of f in theta = alpha (w -
    w_0) has the square norm L w^(2L - 2), the sharpness is twice that, and the edge 2 / sharpness. It is 1/L for alpha
    >> 1 and alpha^(2 - 2/L) / L for alpha << 1; as a step on w, over alpha^2, gamma^2 / L and gamma^(2/L) / L, for
    gamma = 1/alpha.

    Source: Atanasov, Meterez, Simon & Pehlevan, "The Optimization Landscape of SGD Across the Feature Learning
    Strength" (ICLR 2025), who give the exponents; the prefactors are ours.
    """
    return (1 + 1 / alpha) ** (2 / layers - 2) / layers


def deep_scalar_losses(layers: int, alpha: float | Tensor, lrs: Sequence[float] | Tensor, steps: int) -> Tensor:
    """(f - 1)^2 after ``steps`` of gradient descent on theta from w_l = 1, for all step sizes in ``lrs`` (N,).

    In float64, on the one number that all theta_l are. ``alpha`` may be (A, 1) and ``lrs`` (A, N), for (A, N) losses;
    what diverges is inf or nan.
    """
    lrs = torch.as_tensor(lrs, dtype=torch.float64)
    alpha = torch.as_tensor(alpha, dtype=torch.float64)
    w = torch.ones_like(lrs)
    for _ in range(steps):
        slope = w ** (layers - 1)
        w = w - 2 * lrs / alpha * (alpha * (w * slope - 1) - 1) * slope
    return (alpha * (w**layers - 1) - 1).square()
