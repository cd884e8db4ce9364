"""The optimizer of theta."""

from torch.optim import SGD

from ..anchored import Anchored
from .settings import Settings

FUSED_ON = ("cpu", "cuda")


def make_optimizer(model: Anchored, settings: Settings) -> SGD:
    """SGD with momentum, all parameters in one kernel where torch has one: on these devices, for real and dense ones.

    That kernel takes gradients to lie in memory as theta does, which autograd sees to, as theta has no gaps.
    """
    theta = list(model.parameters())
    fused = all(t.is_floating_point() and t.device.type in FUSED_ON for t in theta)
    fused = fused and not any(getattr(part, "sparse", False) for part in model.structure.modules())
    return SGD(theta, lr=settings.lr, momentum=settings.momentum, fused=fused)
