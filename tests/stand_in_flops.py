"""Operations of a training step on a stand-in accelerator, in units of a plain step's, as JSON; not a test itself."""

import math

import torch
from stand_in import DEVICE, FakeTensorMode, leave_with
from torch.utils.flop_counter import FlopCounterMode

import lazytorch as lt


def count(outputs) -> int:
    """Of a forward and backward pass; ``outputs`` is a function that yields the outputs of one or more models."""
    with FlopCounterMode(display=False) as counter:
        for output in outputs():
            output.sum().backward()
    return counter.get_total_flops()


def ratios(net, x) -> dict[str, float]:
    plain = count(lambda: [net(x)])
    result = {}
    for alpha in (1.0, 100.0, 1e7, math.inf):
        model = lt.CenteredModel(net, alpha)
        model(x)  # traced
        result[f"{alpha:g}"] = count(lambda model=model: [model(x)]) / plain
    models = [lt.CenteredModel(net, 10.0**k) for k in range(8)]
    for model in models:  # fake weights cannot be compared
        model.share_start(models[0])
    start = lt.SharedStart(models)
    next(start(x))  # traced, for all
    return result | {"8 alphas, each": count(lambda: start(x)) / plain / 8}


if __name__ == "__main__":
    with FakeTensorMode(), torch.device(DEVICE):
        images = torch.randn(128, 3, 32, 32)
        networks = {"vgg11": lt.models.vgg11(), "resnet18": lt.models.resnet18()}
        leave_with({name: ratios(net, images) for name, net in networks.items()})
