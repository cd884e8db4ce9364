"""Figure 2(b) of Chizat, Oyallon & Bach (2019): online SGD on the population loss is worse from large weights, too."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.students import Students, draw_teacher, population_loss, sphere, trial_generator, two_layer
from .fields import key
from .run import Run
from .teacher_student import ScaledStudents, at_scales, ratio, status, step_sizes

WORSE = 10


@dataclass(frozen=True)
class Figure2b(ScaledStudents):
    """Population loss of a symmetrised two-layer student after online SGD, a new batch a step, against tau.

    f(x) = sum_j b_j relu(a_j . x), weights N(0, tau^2), R = E (f(x) - y)^2 / 2, the step min(0.25/tau^2, 25), as in the
    text. The released code is another: it divides the student by m and the teacher by 200 (the batch size, apparently a
    bug), and multiplies the input weights' step by d. The batch loss before a step is an unbiased estimate of R: its
    mean over the last ``averaged`` steps is the population loss, as in the paper. Beside it we give R after the last
    step exactly (:func:`lazytorch.theory.students.population_loss`). Ours: a trial has one teacher, one draw of weights
    and the same batches for all tau. float32.

    The text's step is above the edge of stability of large tau: 0.25/tau^2 times the tangent kernel's largest
    eigenvalue, over n, is 2.2, of which m/8 pi = 2.0 is the constant function's. Students with tau of 0.3 and more are
    first catapulted to losses far above that at the start, from which they come down slowly. ``step=0.1``, the step of
    Figure 1(c), is stable.
    """

    batch_size: int = key(200, "new inputs a step", at_least=1)
    steps: int = key(20_000, "of SGD", at_least=1)
    averaged: int = key(2000, "last steps whose batch losses are averaged", at_least=1)
    tau_range: tuple[float, ...] = key((0.01, 8.0), "the least and the greatest tau", above=0)
    step: float = key(0.25, "of SGD, over tau^2", above=0)
    largest_step: float = key(25.0, "its largest value, for small tau", above=0)

    report: ClassVar[Report] = Report(
        Figure(
            "figure2b",
            Panel(
                "losses",
                x="tau",
                y=("population_loss", "exact_loss"),
                xscale="log",
                yscale="log",
                ylabel="population loss",
            ),
            caption="Population loss of two-layer students trained by online SGD against the scale tau of their "
            "initial weights: the mean over the last batches, and exactly after the last step.",
        ),
        Table("scales", columns=("tau", "population_loss", "population_loss_std", "exact_loss", "n", "diverged")),
        Claim(
            f"the population loss is more than {WORSE} times larger at tau = 1 than at tau = 0.01",
            lambda summary: None if summary["worse"] is None else summary["worse"] > WORSE,
            source="Chizat, Oyallon & Bach 2019, Figure 2(b)",
        ),
    )
    smoke = ("scale=smoke",)
    block = 10

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        super().check()
        if self.averaged > self.steps:
            raise ValueError(f"averaged={self.averaged} of {self.steps} steps: give as many or fewer")

    def run(self, run: Run) -> dict:
        """losses.csv: a row a trial and tau; scales.csv: their mean and spread over trials."""
        scales = self.run_scales(run, ("population_loss", "exact_loss"))
        return {
            "worse": ratio(scales, "population_loss", 0.01, 1.0),
            "population_loss_at_smallest": scales[0]["population_loss"],
            "population_loss_at_largest": scales[-1]["population_loss"],
            "diverged": sum(row["diverged"] for row in scales),
        }

    def losses(self, trial: int, taus: Sequence[float]) -> list[dict]:
        a, b, teacher_a, teacher_b = self.draw([trial], self._draw)
        students = Students(*at_scales(a, b, taus), step_sizes(taus, self.step, self.largest_step))
        losses = torch.zeros_like(students.b[..., 0])
        generator = trial_generator(self.seed, trial, 1)
        for step in range(self.steps):
            x = sphere(1, self.batch_size, self.dimension, generator=generator, dtype=torch.float32).to(a)
            latest = students.step(x, two_layer(teacher_a, teacher_b, x))
            if step >= self.steps - self.averaged:
                losses += latest / self.averaged
        teacher_a, teacher_b = (t.unsqueeze(1).expand(-1, len(taus), *t.shape[1:]) for t in (teacher_a, teacher_b))
        exact = population_loss((students.a, students.b), (teacher_a, teacher_b))
        return [
            {"tau": tau, "population_loss": loss, "exact_loss": end} | status(loss, end)
            for tau, loss, end in zip(taus, losses[0].tolist(), exact[0].tolist(), strict=True)
        ]

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        teacher = draw_teacher(self.dimension, generator)
        return *self.draw_student(generator), *teacher
