#!/usr/bin/env python3
"""What a training step costs, as ratios of medians measured in turn in one run: scripts/bench_step.py [--width W].

VGG-11, MSE, SGD with momentum. "two passes" is the step of the paper's released code: float64, f(w) - f(w_0) with both
networks differentiated.
"""

import argparse
import math
import statistics
import time

import torch
import torch.nn.functional as F
from tqdm import trange

import lazytorch as lt

PLAIN, TWO_PASSES = "plain float32 step of the network", "float64, two passes"


class TwoPasses(torch.nn.Module):
    """f(w) - f(w_0), with gradients in both."""

    def __init__(self, width: float):
        super().__init__()
        self.moving, self.start = (lt.models.vgg11(width).double() for _ in range(2))

    def forward(self, x):
        return self.moving(x) - self.start(x)


def candidates(width: float, device: str) -> dict:
    net = lt.models.vgg11(width)
    models = {PLAIN: net}
    for alpha in (100.0, 1e7, math.inf):
        models[f"centered model, alpha = {alpha:g}"] = lt.CenteredModel(net, alpha)
    models["torch.func.jvp linearization"] = lt.linearize(net)
    models[TWO_PASSES] = TwoPasses(width)
    return {name: model.to(device) for name, model in models.items()}


def step(model, optimizer, x, target) -> float:
    synchronize = torch.cuda.synchronize if x.is_cuda else lambda: None
    synchronize()
    started = time.perf_counter()
    optimizer.zero_grad()
    F.mse_loss(model(x), target).backward()
    optimizer.step()
    synchronize()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each, after one that is not")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    torch.manual_seed(0)
    models = candidates(options.width, options.device)
    optimizers = {name: torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9) for name, model in models.items()}
    x = torch.randn(options.batch, 3, 32, 32, device=options.device)
    target = torch.randn(options.batch, 10, device=options.device)
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in trange(options.steps + 1, desc="rounds"):
        for name, model in models.items():
            dtype = next(model.parameters()).dtype
            times[name].append(step(model, optimizers[name], x.to(dtype), target.to(dtype)))
    medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
    print(f"VGG-11 of width {options.width:g}, batch {options.batch}, {options.device}, torch {torch.__version__}")
    for name, seconds in medians.items():
        plain, two = seconds / medians[PLAIN], medians[TWO_PASSES] / seconds
        print(f"{name:36s} {seconds:8.3f} s   {plain:5.2f} x plain   two passes / this: {two:5.1f}")


if __name__ == "__main__":
    main()
