#!/usr/bin/env python3
"""What CenteredModel.compile gains: scripts/bench_compile.py [--steps N] [--backend B] [mlp] [resnet18] [vit].

CPU seconds of a training step on one thread (MSE, SGD with momentum), medians of steps that the candidates take in
turn: the network's own eager step, the centered model as it is, compiled, and with loss and backward pass in one
graph as a Trainer takes them; as ratios to the first. And, at theta drawn at random, the errors of output and gradient
against the centered model in float64. Compiling takes a few minutes for each network.
"""

import argparse
import copy
import math
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import trange

import lazytorch as lt

ALPHAS = (1.0, 1e3, 1e7, math.inf)
PLAIN, EAGER, COMPILED, IN_ONE = "plain", "eager", "compiled", "in one graph"


class ViT(nn.Module):
    """A small vision transformer on images of 32 pixels."""

    def __init__(self, width: int = 64, depth: int = 4):
        super().__init__()
        self.patches = nn.Conv2d(3, width, kernel_size=4, stride=4)
        self.positions = nn.Parameter(0.02 * torch.randn(64, width))
        block = nn.TransformerEncoderLayer(
            width, 4, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, depth, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.blocks(self.patches(x).flatten(2).mT + self.positions).mean(1))


def normalised(net: nn.Module) -> nn.Module:
    """Batch norm after every convolution."""
    for name, part in list(net.named_children()):
        if isinstance(part, nn.Conv2d):
            setattr(net, name, nn.Sequential(part, nn.BatchNorm2d(part.out_channels)))
        else:
            normalised(part)
    return net


def mlp():
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


CASES = {
    "mlp": (mlp, (32, 784)),
    "resnet18": (lambda: normalised(lt.models.resnet18(1 / 8)), (16, 3, 32, 32)),
    "vit": (ViT, (16, 3, 32, 32)),
}


def differentiate(name: str, model: nn.Module, x, y):
    """The output, and the gradient in the parameters' ``grad``."""
    if name == IN_ONE:
        return model.differentiate(F.mse_loss, y, x)[1]
    model.zero_grad()
    output = model(x)
    F.mse_loss(output, y).backward()
    return output.detach()


def step(name: str, model: nn.Module, optimizer, x, y) -> float:
    started = time.process_time()
    differentiate(name, model, x, y)
    optimizer.step()
    return time.process_time() - started


def times(models: dict, x, y, steps: int) -> dict[str, float]:
    """Medians over rounds in which each takes a step."""
    optimizers = {name: torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9) for name, model in models.items()}
    taken: dict = {name: [] for name in models}
    for _ in trange(steps + 3, desc="rounds"):
        for name, model in models.items():
            taken[name].append(step(name, model, optimizers[name], x, y))
    return {name: statistics.median(seconds[3:]) for name, seconds in taken.items()}


def errors(net: nn.Module, models: dict, x, y, alpha: float) -> list[str]:
    """Of output / gradient, relative to their norms, against float64."""
    exact = lt.CenteredModel(copy.deepcopy(net).double(), alpha)
    generator = torch.Generator().manual_seed(1)
    for name, theta in exact.theta.items():
        theta.data.copy_(0.1 * torch.randn(theta.shape, generator=generator, dtype=torch.float32))
        for model in models.values():
            model.theta[name].data.copy_(theta)
    expected = _results(EAGER, exact, x.double(), y.double(), alpha)
    return [
        " / ".join(f"{(a - b).norm() / b.norm():.1e}" for a, b in zip(found, expected, strict=True))
        for found in (_results(name, model, x, y, alpha) for name, model in models.items())
    ]


def _results(name, model, x, y, alpha):
    model.alpha = alpha
    output = differentiate(name, model, x, y)
    return output.double(), torch.cat([theta.grad.flatten().double() for theta in model.theta.values()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of {', '.join(CASES)}; all of them by default")
    parser.add_argument("--steps", type=int, default=40, help="timed steps of each, after three that are not")
    parser.add_argument("--backend", default="inductor")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in options.cases or CASES:
        torch.manual_seed(0)
        build, shape = CASES[case]
        net, x, y = build(), torch.randn(shape), torch.randn(shape[0], 10)
        models = {name: lt.CenteredModel(net, 1.0) for name in (EAGER, COMPILED, IN_ONE)}
        for name in (COMPILED, IN_ONE):
            models[name].compile(options.backend)
        for alpha in ALPHAS:
            found = errors(net, models, x, y, alpha)
            seconds = times({PLAIN: copy.deepcopy(net), **models}, x, y, options.steps)
            print(f"{case}, alpha = {alpha:g}: plain step {1e3 * seconds[PLAIN]:.2f} ms")
            for name, error in zip(models, found, strict=True):
                print(f"  {name:12s} {seconds[name] / seconds[PLAIN]:5.2f} x plain, errors {error}", flush=True)


if __name__ == "__main__":
    main()
