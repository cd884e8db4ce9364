"""Standardising z = (x - mean) / sqrt(variance + eta) on pairs, which batch, layer and group normalisation share.

Written with the reciprocal standard deviation r = 1 / sqrt(variance + eta): its divided difference is
-Dv (r_0 r_1)^2 / (r_0 + r_1), where r_0 is its value at w_0, r_1 that at w, and Dv the variance's difference.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def wide(t: Tensor | None) -> Tensor | None:
    """In float32, if the type is a short one."""
    return t.float() if t is not None and t.dtype in (torch.float16, torch.bfloat16) else t


class Statistics(NamedTuple):
    """Means and reciprocal standard deviations at w_0 and at w; differences of mean, variance and reciprocal."""

    mean_0: Tensor
    reciprocal_0: Tensor
    mean_1: Tensor
    reciprocal_1: Tensor
    mean_difference: Tensor
    variance_difference: Tensor

    @property
    def reciprocal_difference(self) -> Tensor:
        """That of r."""
        r0, r1 = self.reciprocal_0, self.reciprocal_1
        return -self.variance_difference * (r0 * r1) ** 2 / (r0 + r1)


def of_sample(epsilon: float, d: Tensor, z: Tensor, mean: Tensor, reciprocal: Tensor, eta: float, dims) -> Statistics:
    """Statistics of the sample itself: ``z`` is x standardised at w_0, ``mean`` and ``reciprocal`` its own (kept as 1).

    Dv = 2 mean(dx (x - mean)) + eps variance(dx).
    """
    spread, shift = torch.var_mean(d, dims, correction=0, keepdim=True)
    covariance = (d * z).mean(dims, keepdim=True) / reciprocal
    return from_moments(epsilon, mean, reciprocal, shift, 2 * covariance + epsilon * spread, eta)


def from_moments(epsilon, mean, reciprocal, mean_difference, variance_difference, eta) -> Statistics:
    """Statistics from those at w_0 and the differences of mean and variance."""
    at_w = (reciprocal**-2 + epsilon * variance_difference).clamp_min(eta)
    return Statistics(
        mean, reciprocal, mean + epsilon * mean_difference, at_w.rsqrt(), mean_difference, variance_difference
    )
