#!/usr/bin/env python3
"""Two-layer students side by side against one after the other: scripts/bench_students.py [--steps N] [--repeats K].

One after the other, each is an nn.Module trained by autograd and torch.optim.SGD. Both ways train the same students in
the same precision and are measured in turn in one run. Seconds are of the processor, all threads together, which other
processes disturb little, and the least of the repeats; beside their ratio is the largest difference of the losses.
"""

import argparse
import time

import torch
from torch import nn

from lazytorch.theory.students import Students, draw_teacher, sphere, stack_trials, symmetrised, two_layer

# name -> trials, scales, neurons, inputs, dimension: what a part of each experiment trains
PARTS = {
    "figure1ab": (10, 2, 16, 15, 2, torch.float64),
    "figure1c": (1, 4, 50, 1000, 100, torch.float32),
    "figure2a, m = 8": (8, 2, 8, 1000, 100, torch.float32),
    "figure2a, m = 256": (1, 2, 256, 1000, 100, torch.float32),
    "figure2b": (1, 10, 50, 200, 100, torch.float32),
}


class Student(nn.Module):
    """f(x) = sum_j b_j relu(a_j . x)."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = nn.Parameter(a.clone()), nn.Parameter(b.clone())

    def forward(self, x):
        return torch.relu(x @ self.a.T) @ self.b


def draw(trials, scales, neurons, inputs, dimension, dtype):
    """a, b, x and y of all students; scales differ by tau."""

    def one(generator):
        teacher, x = draw_teacher(dimension, generator), sphere(inputs, dimension, generator=generator)
        a = torch.randn(neurons // 2, dimension, generator=generator, dtype=torch.float64)
        a, b = symmetrised(a, torch.randn(neurons // 2, generator=generator, dtype=torch.float64))
        return a, b, x, two_layer(*teacher, x)

    a, b, x, y = (tensor.to(dtype) for tensor in stack_trials(one, 0, range(trials)))
    tau = torch.logspace(-2, 0, scales, dtype=dtype)
    step = (1 / (neurons * tau**2)).clamp(max=1)
    return tau[:, None, None] * a.unsqueeze(1), tau[:, None] * b.unsqueeze(1), x, y, step


def together(a, b, x, y, step, steps):
    """The losses before the last step."""
    students = Students(a, b, step)
    for _ in range(steps):
        losses = students.step(x, y)
    return losses


def one_by_one(a, b, x, y, step, steps):
    """The same in a loop."""
    losses = torch.empty(a.shape[:2], dtype=a.dtype)
    for trial, scale in torch.cartesian_prod(*map(torch.arange, a.shape[:2])).tolist():
        student = Student(a[trial, scale], b[trial, scale])
        optimizer = torch.optim.SGD(student.parameters(), lr=step[scale].item())
        for _ in range(steps):
            optimizer.zero_grad()
            loss = (student(x[trial]) - y[trial]).square().mean() / 2
            loss.backward()
            optimizer.step()
        losses[trial, scale] = loss.detach()
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, {options.steps} steps")
    for name, size in PARTS.items():
        students, seconds, losses = draw(*size), {}, {}
        for _ in range(options.repeats):
            for way in (together, one_by_one):
                start = time.process_time()
                losses[way] = way(*students, options.steps)
                seconds[way] = min(seconds.get(way, float("inf")), time.process_time() - start)
        difference = ((losses[together] - losses[one_by_one]) / losses[one_by_one]).abs().max().item()
        print(
            f"{name}: side by side {seconds[together]:.3f} s, one by one {seconds[one_by_one]:.3f} s, ratio "
            f"{seconds[one_by_one] / seconds[together]:.1f}; losses differ by {difference:.0e}"
        )


if __name__ == "__main__":
    main()
