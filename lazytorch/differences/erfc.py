"""erfc, which is in the code that compilers write for CPUs as slow as eight exponentials, by two of them."""

import math

import numpy as np
import torch
from torch import Tensor

from .jumps import is_compiling

LARGEST = 10.5  # erfc of it is 0 in float32


def _mapped(x):
    """From x >= 0 to [-1, 1]."""
    return (x - 2) / (x + 2)


#: Of powers of _mapped(x), for e^(x^2) erfc(x) (1 + 2 x), within 3e-8 of it.
COEFFICIENTS = (
    np.polynomial.Chebyshev.interpolate(
        np.vectorize(lambda t: math.erfc(x := 2 * (1 + t) / (1 - t)) * math.exp(x * x) * (1 + 2 * x)),
        deg=9,
        domain=[-1, _mapped(LARGEST)],
    )
    .convert(kind=np.polynomial.Polynomial)
    .coef.tolist()
)


def erfc(x: Tensor) -> Tensor:
    """erfc(x); what is compiled in float32 within three roundings."""
    if not is_compiling() or x.dtype != torch.float32:
        return torch.erfc(x)
    size = x.abs().clamp_max(LARGEST)
    point, factor = _mapped(size), torch.full_like(size, COEFFICIENTS[-1])
    for coefficient in reversed(COEFFICIENTS[:-1]):
        factor = factor * point + coefficient
    near = (size * 64).round() / 64  # its square is exact
    tail = torch.exp(-near * near) * torch.exp((near - size) * (near + size)) * (factor / (1 + 2 * size))
    return torch.where(x < 0, 2 - tail, tail)
