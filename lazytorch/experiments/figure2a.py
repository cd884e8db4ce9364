"""Figure 2(a) of Chizat, Oyallon & Bach (2019): wide students are lazy if scaled by 1/sqrt(m), and not if by 1/m."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.students import Students, descend, draw_teacher, sphere, two_layer
from .fields import key
from .run import Run
from .teacher_student import TeacherStudent, blocks, spread, status

LAZY, MEAN_FIELD = "1/sqrt(m)", "1/m"
BLOCK = 64  # neurons, of all trials that are trained side by side
WIDE = 64  # neurons from which on the claims are about wide students
FLAT = 1.5


@dataclass(frozen=True)
class Figure2a(TeacherStudent):
    """Test loss of two-layer students of m neurons against m, for the scalings alpha = 1/sqrt(m) and alpha = 1/m.

    f(x) = alpha sum_j b_j relu(a_j . x) with all weights N(0, 1), not symmetrised, as in the released code. With
    R = sum_i (f(x_i) - y_i)^2 / 2n, gradient descent on F(w) = R(alpha h(w)) / alpha^2, h = f/alpha, has the step
    eta = 1/m at alpha = 1/sqrt(m) and 0.05/m at 1/m: w <- w - (eta/alpha) Dh^T r / n. So we read the released code's
    update, (step / scaling) times the gradient: in both scalings f changes at a rate that does not depend on m. With
    the gradient of R itself, alpha Dh^T r / n, it would be slower by alpha, and wide students at 1/m would not fit the
    data in 25,000 steps. Ours: a trial has one teacher and one data set for all m and both scalings, which share their
    initial weights; the best test loss is the least one of every ``evaluate_every`` steps. float32.
    """

    steps: int = key(25_000, "of gradient descent", at_least=1)
    neurons: tuple[int, ...] = key((2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256, 512), "of a student, m", at_least=1)
    train_size: int = key(1000, "training inputs", at_least=1)
    test_size: int = key(1000, "test inputs", at_least=1)
    teacher_scale: float = key(100.0, "factor on the teacher's output", above=0)
    lazy_step: float = key(1.0, "of gradient descent at 1/sqrt(m), times m", above=0)
    step: float = key(0.05, "of gradient descent at 1/m, times m", above=0)
    evaluate_every: int = key(50, "steps between looks at the test loss", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "figure2a",
            Panel("losses", x="neurons", y="test_loss", by="scaling", xscale="log", yscale="log"),
            caption="Test loss of two-layer students at the end against their width m, scaled by 1/sqrt(m), lazy as m "
            "grows, and by 1/m.",
        ),
        Table("widths", columns=("scaling", "neurons", "test_loss", "test_loss_std", "train_loss", "n", "diverged")),
        Claim(
            f"the widest student ends at more than {FLAT} times the test loss if scaled by 1/sqrt(m) than by 1/m",
            lambda summary: None if summary["widest"] < WIDE else summary["lazy_over_mean_field"] > FLAT,
            source="Chizat, Oyallon & Bach 2019, Figure 2(a)",
        ),
        Claim(
            f"scaled by 1/sqrt(m) the test loss is flat: within a factor {FLAT} between the two largest m",
            lambda summary: None if summary["widest"] < WIDE else 1 / FLAT < summary["lazy_flatness"] < FLAT,
            source="Chizat, Oyallon & Bach 2019, Figure 2(a)",
        ),
    )
    smoke = ("scale=smoke",)

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        super().check()
        if len(set(self.neurons)) < max(2, len(self.neurons)):
            raise ValueError(f"neurons={list(self.neurons)}: give two numbers or more, none of them twice")

    def run(self, run: Run) -> dict:
        """losses.csv: a row a trial, m and scaling; widths.csv: their mean and spread over trials."""
        parts = [(m, part) for m in self.neurons for part in blocks(range(self.trials), max(1, BLOCK // m))]
        for m, (block, trials) in run.progress(parts, "blocks"):
            run.part("losses", lambda m=m, trials=trials: self._losses(m, trials), neurons=m, block=block)
        columns = ("test_loss", "best_test_loss", "train_loss")
        widths = run.part("widths", lambda: spread(run.table("losses"), ("scaling", "neurons"), columns))
        losses = {(row["scaling"], row["neurons"]): row["test_loss"] for row in widths}
        before, widest = sorted(self.neurons)[-2:]
        return {
            "lazy_over_mean_field": losses[LAZY, widest] / losses[MEAN_FIELD, widest],
            "lazy_flatness": losses[LAZY, widest] / losses[LAZY, before],
            "lazy_test_loss": losses[LAZY, widest],
            "mean_field_test_loss": losses[MEAN_FIELD, widest],
            "widest": widest,
            "diverged": sum(row["diverged"] for row in widths),
        }

    def _losses(self, m: int, trials: Sequence[int]) -> list[dict]:
        students, train, test = self.students(m, trials)
        end = descend(students, train, test, self.steps, self.evaluate_every)
        return [
            {"scaling": scaling, "trial": trial, "train_loss": train, "test_loss": test, "best_test_loss": best}
            | status(train, test)
            for trial, *losses in zip(trials, end.train.tolist(), end.test.tolist(), end.best.tolist(), strict=True)
            for scaling, train, test, best in zip((LAZY, MEAN_FIELD), *losses, strict=True)
        ]

    def students(self, m: int, trials: Sequence[int]) -> tuple[Students, tuple, tuple]:
        """Students of m neurons in both scalings, and the pairs (x, y) of training and test data."""
        x, test_x, teacher_a, teacher_b, a, b = self.draw(trials, lambda generator: self._draw(generator, m))
        like = {"dtype": a.dtype, "device": a.device}
        students = Students(
            a.unsqueeze(1).expand(-1, 2, -1, -1),
            b.unsqueeze(1).expand(-1, 2, -1),
            step=torch.tensor([self.lazy_step / m, self.step / m], **like),
            scaling=torch.tensor([m**-0.5, 1 / m], **like),
        )
        y, test_y = (two_layer(teacher_a, teacher_b, inputs) for inputs in (x, test_x))
        return students, (x, y), (test_x, test_y)

    def _draw(self, generator: torch.Generator, m: int) -> tuple[Tensor, ...]:
        d = self.dimension
        teacher_a, teacher_b = draw_teacher(d, generator)
        inputs = [sphere(n, d, generator=generator) for n in (self.train_size, self.test_size)]
        a = torch.randn(m, d, generator=generator, dtype=torch.float64)
        b = torch.randn(m, generator=generator, dtype=torch.float64)
        return *inputs, teacher_a, self.teacher_scale * teacher_b, a, b
