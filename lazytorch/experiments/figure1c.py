"""Figure 1(c) of Chizat, Oyallon & Bach (2019): the larger the initial weights, the worse a student generalises."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.students import Students, descend, draw_teacher, sphere, two_layer
from .fields import key
from .run import Run
from .teacher_student import ScaledStudents, at_scales, ratio, status, step_sizes

WORSE = 10


@dataclass(frozen=True)
class Figure1c(ScaledStudents):
    """Test loss of a symmetrised two-layer student against tau, where its weights are N(0, tau^2) at the start.

    f(x) = sum_j b_j relu(a_j . x), R = sum_i (f(x_i) - y_i)^2 / 2n as in the released code, full-batch gradient descent
    with the step min(10, 0.1/tau^2), both as in the paper. The second half of the neurons repeats the first with
    opposite output signs, so that f = 0 at the start. Ours, where the paper is silent: the teacher's signs are drawn; a
    trial has one teacher, one data set and one draw of weights for all tau, which share them; the best test loss is the
    least one of every ``evaluate_every`` steps. float32: its test losses are
    within 2e-3 of those in float64 (one trial, tau = 0.01, 0.1, 1 and 10).
    """

    train_size: int = key(1000, "training inputs", at_least=1)
    test_size: int = key(1000, "test inputs", at_least=1)
    tau_range: tuple[float, ...] = key((0.0063096, 10.0), "the least and the greatest tau", above=0)
    taus: int = key(33, "values of tau, evenly spaced in the logarithm", at_least=1)
    evaluate_every: int = key(10, "steps between looks at the test loss", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "figure1c",
            Panel("losses", x="tau", y=("test_loss", "best_test_loss"), xscale="log", yscale="log"),
            caption="Test loss of two-layer students at the end and at its best along training, against the scale tau "
            "of their initial weights.",
        ),
        Table("scales", columns=("tau", "test_loss", "test_loss_std", "best_test_loss", "train_loss", "n", "diverged")),
        Claim(
            f"the test loss at the end is more than {WORSE} times larger at tau = 1 than at tau = 0.01",
            lambda summary: None if summary["worse"] is None else summary["worse"] > WORSE,
            source="Chizat, Oyallon & Bach 2019, Figure 1(c)",
        ),
        Claim(
            f"the best test loss along training is more than {WORSE} times larger at tau = 1 than at tau = 0.01",
            lambda summary: None if summary["best_worse"] is None else summary["best_worse"] > WORSE,
            source="Chizat, Oyallon & Bach 2019, Figure 1(c)",
        ),
    )
    smoke = ("scale=smoke",)
    block = 4

    def run(self, run: Run) -> dict:
        """losses.csv: a row a trial and tau; scales.csv: their mean and spread over trials."""
        scales = self.run_scales(run, ("test_loss", "best_test_loss", "train_loss"))
        return {
            "worse": ratio(scales, "test_loss", 0.01, 1.0),
            "best_worse": ratio(scales, "best_test_loss", 0.01, 1.0),
            "test_loss_at_smallest": scales[0]["test_loss"],
            "test_loss_at_largest": scales[-1]["test_loss"],
            "diverged": sum(row["diverged"] for row in scales),
        }

    def losses(self, trial: int, taus: Sequence[float]) -> list[dict]:
        a, b, train, test = self.draw_trials([trial])
        students = Students(*at_scales(a, b, taus), step_sizes(taus, self.step, self.largest_step))
        end = descend(students, train, test, self.steps, self.evaluate_every)
        losses = zip(taus, end.train[0].tolist(), end.test[0].tolist(), end.best[0].tolist(), strict=True)
        return [
            {"tau": tau, "train_loss": train, "test_loss": test, "best_test_loss": best} | status(train, test)
            for tau, train, test, best in losses
        ]

    def draw_trials(self, trials: Sequence[int]) -> tuple:
        """a and b of tau = 1, (trials, m, d) and (trials, m), and the pairs (x, y) of training and test data."""
        a, b, teacher_a, teacher_b, x, test_x = self.draw(trials, self._draw)
        return a, b, (x, two_layer(teacher_a, teacher_b, x)), (test_x, two_layer(teacher_a, teacher_b, test_x))

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        teacher = draw_teacher(self.dimension, generator)
        inputs = [sphere(n, self.dimension, generator=generator) for n in (self.train_size, self.test_size)]
        return *self.draw_student(generator), *teacher, *inputs
