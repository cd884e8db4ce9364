"""Two-layer students of a two-layer teacher, many trained side by side (Chizat, Oyallon & Bach 2019, section 3.1)."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def sphere(*shape: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float64) -> Tensor:
    """Points uniform on the unit sphere, of ``shape`` (..., d)."""
    return torch.nn.functional.normalize(torch.randn(shape, generator=generator, dtype=dtype), dim=-1)


def two_layer(a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    """sum_j b_j relu(a_j . x): a (..., m, d), b (..., m) and x (..., n, d) give (..., n)."""
    return (b.unsqueeze(-2) @ (a @ x.mT).relu()).squeeze(-2)


def draw_teacher(d: int, generator: torch.Generator | None = None, neurons: int = 3) -> tuple[Tensor, Tensor]:
    """(a, b) of a teacher in float64: ``neurons`` directions uniform on the sphere, signs +-1."""
    a = sphere(neurons, d, generator=generator)
    return a, 2.0 * torch.randint(2, (neurons,), generator=generator).double() - 1


def symmetrised(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The neurons (a, b) twice, the second time with opposite output signs: a student that is 0 at the start."""
    return torch.cat([a, a], dim=-2), torch.cat([b, -b], dim=-1)


def population_loss(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor]) -> Tensor:
    """E (f(x) - y(x))^2 / 2 over the unit sphere, exactly, of two-layer (a, b) and (a, b) with the same leading axes.

    E relu(a . x) relu(c . x) = |a| |c| (sin t + (pi - t) cos t) / (2 pi d), t the angle of a and c: the arc-cosine
    kernel of degree 1 (Cho & Saul 2009), which for x ~ N(0, I) is d times as large. In float64, as it is a difference.
    """
    a = torch.cat([student[0].double(), teacher[0].double()], dim=-2)
    b = torch.cat([student[1].double(), -teacher[1].double()], dim=-1)
    norms, unit = a.norm(dim=-1), torch.nn.functional.normalize(a, dim=-1)
    angle = torch.arccos((unit @ unit.mT).clamp(-1, 1))
    kernel = (angle.sin() + (math.pi - angle) * angle.cos()) / (2 * math.pi * a.shape[-1])
    weights = (b * norms).unsqueeze(-1)
    return torch.nan_to_num((weights.mT @ kernel @ weights).squeeze(-1, -2) / 2, nan=math.inf, posinf=math.inf)


def stack_trials(draw: Callable[[torch.Generator], tuple[Tensor, ...]], seed: int, trials: Iterable[int]) -> tuple:
    """What ``draw`` draws for each of ``trials``, stacked: a trial draws the same whatever is drawn with it."""
    drawn = [draw(trial_generator(seed, trial)) for trial in trials]
    return tuple(torch.stack(tensors) for tensors in zip(*drawn, strict=True))


def trial_generator(*key: int) -> torch.Generator:
    """A generator of its own for every (seed, trial, ...), on the CPU, so that all devices see the same."""
    (state,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state))


class Students:
    """Students alpha h(w; x), h(w; x) = sum_j b_j relu(a_j . x), of several trials and scales, trained side by side.

    x (trials, n, d), which the scales share, and y (trials, n) give R = sum_i (f(x_i) - y_i)^2 / 2n of every student. A
    step is one of gradient descent on the paper's F(w) = R(alpha h(w)) / alpha^2:

        w <- w - eta Dh(w)^T r / (n alpha),    r = alpha h(w) - y.

    relu is homogeneous, so that with u_j = sum_i r_i 1[a_j . x_i > 0] x_i the gradients are b_j u_j and a_j . u_j: no
    second pass over the activations, for b. Students do not mix: each is what it would be alone, up to the rounding of
    products. One that diverges has infinite losses, and the others go on.

    Steps are summed apart from the weights at the start: from large weights they are below the rounding of float32, in
    which the sum w_0 + (w - w_0) is as good as float64 here, and w <- w - step is not.

    Args:
        a, b: (trials, scales, m, d) and (trials, scales, m), copied; trained in their precision, on their device.
        step: eta, a number or one for each scale.
        scaling: alpha, likewise.

    Cost: of a step 4 n m d operations a student, and trials x scales x m x n numbers of memory; fastest where those fit
    the cache.
    """

    def __init__(self, a: Tensor, b: Tensor, step: float | Sequence[float] | Tensor, scaling: float | Tensor = 1.0):
        self._start = [w.clone(memory_format=torch.contiguous_format) for w in (a, b)]
        self._moved = [torch.zeros_like(w) for w in self._start]
        self.a, self.b = (w.clone() for w in self._start)
        self.scaling = torch.as_tensor(scaling, dtype=a.dtype, device=a.device)
        self.rate = torch.as_tensor(step, dtype=a.dtype, device=a.device) / self.scaling

    def outputs(self, x: Tensor) -> Tensor:
        """f(x): (trials, n, d) gives (trials, scales, n)."""
        return self._outputs(self._activations(x))

    def losses(self, x: Tensor, y: Tensor) -> Tensor:
        """R of every student, (trials, scales), inf where it is not finite."""
        return _half_mean_square(self.outputs(x) - y.unsqueeze(1))

    def step(self, x: Tensor, y: Tensor) -> Tensor:
        """A step of gradient descent of every student; returns R before it."""
        activations = self._activations(x)
        residuals = self._outputs(activations).sub_(y.unsqueeze(1))
        active = activations.sign_().mul_(residuals.unsqueeze(2))
        u = (active.flatten(1, 2) @ x).view_as(self.a)
        u *= (self.rate / x.shape[1])[..., None, None]
        for change, moved in zip((self.b.unsqueeze(-1) * u, (self.a * u).sum(-1)), self._moved, strict=True):
            moved -= change
        for w, start, moved in zip((self.a, self.b), self._start, self._moved, strict=True):
            torch.add(start, moved, out=w)
        return _half_mean_square(residuals)

    def _activations(self, x: Tensor) -> Tensor:
        return (self.a.flatten(1, 2) @ x.mT).relu_().unflatten(1, self.b.shape[1:])

    def _outputs(self, activations: Tensor) -> Tensor:
        return (self.b.unsqueeze(2) @ activations).squeeze(2).mul_(self.scaling[..., None])


def _half_mean_square(residuals: Tensor) -> Tensor:
    return torch.nan_to_num(residuals.square().mean(-1) / 2, nan=math.inf, posinf=math.inf)


@dataclass(frozen=True)
class Descent:
    """Losses after the last step, and the least test loss on the way; (trials, scales), inf where it diverged."""

    train: Tensor
    test: Tensor
    best: Tensor


def descend(
    students: Students, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], steps: int, evaluate_every: int
) -> Descent:
    """``steps`` of full-batch gradient descent on ``train``, a pair (x, y) as :class:`Students` takes it.

    The test loss is looked at before the first step, every ``evaluate_every`` steps and after the last.
    """
    best = students.losses(*test)
    for step in range(1, steps + 1):
        students.step(*train)
        if step % evaluate_every == 0 or step == steps:
            latest = students.losses(*test)
            best = torch.minimum(best, latest)
    return Descent(students.losses(*train), latest, best)
