#!/usr/bin/env python3
"""What a training step costs: scripts/bench_step.py [--model vgg11|resnet18] [--width W] [--device D].

Seconds are medians of steps measured in turn in one run; every step is stated as a ratio to the plain float32 step of
the network, and to "two passes", the step of the paper's released code: float64, f(w) - f(w_0) with both networks
differentiated. Peak memory is that of a process of its own (on CUDA: of the allocator). MSE, SGD with momentum.
"""

import argparse
import contextlib
import math
import multiprocessing
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from tqdm import tqdm, trange

import lazytorch as lt

PLAIN, TWO_PASSES = "plain float32 step", "two passes, float64"
ALPHAS = {"alpha = 100": 100.0, "alpha = 1e7": 1e7, "alpha = inf": math.inf}
IN_COMPANY = 8


class TwoPasses(torch.nn.Module):
    """f(w) - f(w_0), with gradients in both."""

    def __init__(self, net, other):
        super().__init__()
        self.moving, self.start = net.double(), other.double()

    def forward(self, x):
        return self.moving(x) - self.start(x)


class Candidate:
    """A way to take a step, of one model or of several in company."""

    def __init__(self, name: str, options):
        torch.manual_seed(0)
        self.device = torch.device(options.device)
        build = getattr(lt.models, options.model)
        net = build(options.width).to(self.device)
        self.dtype = torch.float64 if name == TWO_PASSES else torch.float32
        self.autocast = "bf16" in name
        if name == PLAIN:
            self.models = [net]
        elif name == TWO_PASSES:
            self.models = [TwoPasses(net, build(options.width).to(self.device))]
        elif name.startswith("torch.func"):
            self.models = [lt.linearize(net)]
        elif "company" in name:
            self.models = [lt.CenteredModel(net, 10.0**k) for k in range(IN_COMPANY)]
            self.together = lt.SharedStart(self.models)
        else:
            self.models = [lt.CenteredModel(net, ALPHAS[name.split(",")[0]])]
        self.optimizers = [torch.optim.SGD(m.parameters(), lr=1e-4, momentum=0.9) for m in self.models]
        self.x = torch.randn(options.batch, 3, 32, 32, device=self.device, dtype=self.dtype)
        self.target = torch.randn(options.batch, 10, device=self.device, dtype=self.dtype)

    def step(self) -> float:
        """Seconds of a step, per model."""
        self._synchronize()
        started = time.perf_counter()
        outputs = self.together(self.x) if len(self.models) > 1 else map(self.models[0], [self.x])
        for optimizer in self.optimizers:
            with torch.autocast(self.device.type, torch.bfloat16) if self.autocast else contextlib.nullcontext():
                output = next(outputs)
            optimizer.zero_grad()
            F.mse_loss(output.to(self.dtype), self.target).backward()
            optimizer.step()
        self._synchronize()
        return (time.perf_counter() - started) / len(self.models)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


NAMES = (PLAIN, *ALPHAS, f"{IN_COMPANY} alphas in company, each", "torch.func.jvp", "alpha = 1e7, bf16", TWO_PASSES)


def peak_memory(name: str, options) -> float:
    """GiB at the peak of two steps, beyond what the process held before the model was built."""
    if options.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    candidate = Candidate(name, options)
    candidate.step(), candidate.step()
    if options.device.startswith("cuda"):
        return (torch.cuda.max_memory_allocated() - before) / 2**30
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**30


def measure_memory(options) -> dict[str, float]:
    """A fresh process for each candidate."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return {name: pool.apply(peak_memory, (name, options)) for name in tqdm(NAMES, desc="memory")}


def measure_times(options) -> dict[str, float]:
    """Medians over rounds in which each candidate takes a step."""
    candidates = {name: Candidate(name, options) for name in NAMES}
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for _ in trange(options.steps + 1, desc="rounds"):
        for name, candidate in candidates.items():
            times[name].append(candidate.step())
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=("vgg11", "resnet18"), default="vgg11")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each, after one that is not")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    memory, times = measure_memory(options), measure_times(options)
    print(
        f"{options.model}, width {options.width:g}, batch {options.batch}, {options.device}, torch {torch.__version__}"
    )
    print(f"{'step':32s} {'seconds':>8s} {'x plain':>8s} {'two passes / this':>18s} {'peak GiB':>9s} {'x plain':>8s}")
    for name in NAMES:
        faster = times[TWO_PASSES] / times[name]
        print(
            f"{name:32s} {times[name]:8.3f} {times[name] / times[PLAIN]:8.2f} {faster:18.1f} "
            f"{memory[name]:9.2f} {memory[name] / memory[PLAIN]:8.2f}"
        )


if __name__ == "__main__":
    main()
