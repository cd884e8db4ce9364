"""tanh z and the growth e^z - 1, for which torch takes 6 and 20 times as long as for a sigmoid, in float32 on a CPU."""

import torch
from torch import Tensor

from .reading import are_within

#: Where all |z| are at most this, three terms of the series of tanh z, whose rest is 1.3e-9 of it.
SMALL = 1 / 8
#: Of fewer elements torch's own takes less time.
MANY = 2**14


def tanh_(z: Tensor) -> Tensor:
    """tanh z, in place."""
    if z.dtype != torch.float32 or z.numel() < MANY or not are_within(z, SMALL):
        return z.tanh_()
    square = z.square()
    return z.addcmul_(z, square.mul(-17 / 315).add_(2 / 15).mul_(square).sub_(1 / 3).mul_(square))


def growth(epsilon: float, d: Tensor) -> Tensor:
    """expm1(eps d) / eps for real eps d <= 1, as 2 t / (1 - t) / eps with t = tanh(eps d / 2); at eps = 0, d."""
    if epsilon == 0:
        return d
    t = tanh_(torch.mul(d, epsilon / 2))
    return t.div_(1 - t).mul_(2 / epsilon)
