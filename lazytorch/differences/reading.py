"""Which of two formulas a tensor needs, asked where its values can be read without waiting."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from ..transforms import active


def answers_at_once(device: torch.device) -> bool:
    """Whether a value on the device can be read without waiting for what has been asked of it before."""
    return device.type == "cpu"


def within(size: Tensor, limit: float, near: Callable[[], Tensor], far: Callable[[], Tensor]) -> Tensor:
    """The one of two formulas where the size is at most the limit, the other where it is not; that one only if needed.

    Sizes are compared by their maximum, which takes a tenth of the time of comparing each.
    """
    result = near()
    return result if are_within(size, limit) else torch.where(size <= limit, result, far())


def are_within(z: Tensor, limit: float) -> bool:
    """Whether all |z| are at most the limit; False where asking would make the CPU wait."""
    if not has_values(z) or not answers_at_once(z.device) or not z.numel():
        return False
    least, most = torch.aminmax(z)
    return bool(least >= -limit) and bool(most <= limit)


def has_values(tensor: Tensor) -> bool:
    """Whether Python may read them: nothing is being traced, by stand-ins or not, and it is no batch of a transform."""
    return not isinstance(tensor, (FakeTensor, FunctionalTensor)) and not active() and get_proxy_mode() is None
