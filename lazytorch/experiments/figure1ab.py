"""Figure 1(a, b) of Chizat, Oyallon & Bach (2019): small neurons turn to the teacher's, large ones hardly move."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..quantities import Quantity
from ..reports import Claim, Figure, Plane, Report, Table
from ..theory.students import Students, draw_teacher, population_loss, sphere, symmetrised, two_layer
from .fields import key
from .run import Run
from .teacher_student import TeacherStudent, at_scales, check_even, spread, status

TURNED, STAYED = 15, 5  # degrees


@dataclass(frozen=True)
class Figure1ab(TeacherStudent):
    """Paths of the neurons |b_j| a_j in the plane from a small and from a large initial scale tau.

    d = 2, m = 16 neurons, symmetrised, 15 training inputs on the unit circle, R = sum_i (f(x_i) - y_i)^2 / 2n. As in
    the released code a_j is tau times a unit vector and b_j tau times a draw from [0, 1], with opposite signs in the
    second half, and full-batch gradient descent takes 1e5 steps of 0.005. Ours: the teacher's signs are drawn; all tau
    of a trial share its teacher, data and directions. The first trial is drawn; of all, the angles are means over
    neurons, weighted by |b_j| |a_j| at the end. float64.
    """

    dimension: int = key(2, "of the inputs, uniform on the unit circle", at_least=2, below=3)
    neurons: int = key(16, "of the student, an even number", at_least=2)
    train_size: int = key(15, "training inputs", at_least=1)
    taus: tuple[float, ...] = key((0.1, 2.0), "initial scales, a small and a large one", above=0)
    steps: int = key(100_000, "of gradient descent", at_least=1)
    step: float = key(0.005, "of gradient descent", above=0)
    points: int = key(200, "about as many of a path are kept, evenly spaced in its logarithm of steps", at_least=2)
    precision: str = key("float64", "float32 or float64", one_of=("float32", "float64"))

    report: ClassVar[Report] = Report(
        Figure(
            "figure1ab",
            Plane("paths", x="u", y="v", by="neuron", each="tau", sign="sign", rays="teacher"),
            caption="Paths of the student's neurons |b_j| a_j, from hollow to full dots, over the teacher's "
            "directions and the unit circle, from a small and a large initial scale tau.",
        ),
        Table("scales", columns=("tau", "turned", "from_teacher", "test_loss", "train_loss", "n", "diverged")),
        Claim(
            f"from the smallest tau neurons turn by more than {TURNED} degrees, from the largest by less than {STAYED}",
            lambda summary: (
                summary["smallest"]["turned"] > TURNED and summary["largest"]["turned"] < STAYED
                if summary["smallest"]["tau"] <= 0.2 and summary["largest"]["tau"] >= 2
                else None
            ),
            source="Chizat, Oyallon & Bach 2019, Figure 1(a, b)",
        ),
        Claim(
            "from the smallest tau neurons end at less than half the angle to the teacher's as from the largest",
            lambda summary: summary["smallest"]["from_teacher"] < summary["largest"]["from_teacher"] / 2,
            source="Chizat, Oyallon & Bach 2019, Figure 1(a, b)",
        ),
    )
    smoke = ("steps=100", "trials=2")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        super().check()
        check_even(self.neurons)
        if len(set(self.taus)) < max(2, len(self.taus)):
            raise ValueError(f"taus={list(self.taus)}: give two scales or more, none of them twice")

    def prepare(self, run: Run) -> None:
        """What the axes of the plane are."""
        run.quantities |= {name: Quantity(name, label=rf"$(|b_j|\, a_j)_{i}$") for i, name in enumerate("uv", 1)}

    def run(self, run: Run) -> dict:
        """paths.csv and teacher.csv: what is drawn; trials.csv: a row a trial and tau; scales.csv: their mean."""
        run.part("paths", self._paths)
        run.part("teacher", self._teacher)
        trials = run.part("trials", self._trials)
        columns = ("turned", "from_teacher", "test_loss", "train_loss")
        scales = run.part("scales", lambda: spread(trials, ("tau",), columns))
        return {"smallest": scales[0], "largest": scales[-1]}

    def _paths(self) -> list[dict]:
        """Where the neurons of the first trial are, at ``points`` steps."""
        students, _, train = self.students([0])
        kept = {0, *np.unique(np.geomspace(1, self.steps, self.points).round().astype(int)).tolist()}
        rows = []
        for step in range(self.steps + 1):
            if step in kept:
                places = (students.b.abs().unsqueeze(-1) * students.a)[0].tolist()
                rows += [
                    {"tau": tau, "neuron": j, "sign": 1 if j < self.neurons // 2 else -1, "step": step, "u": u, "v": v}
                    for tau, neurons in zip(self.taus, places, strict=True)
                    for j, (u, v) in enumerate(neurons)
                ]
            students.step(*train)
        return rows

    def _teacher(self) -> list[dict]:
        _, (a, b), _ = self.students([0])
        return [{"sign": int(sign), "u": u, "v": v} for (u, v), sign in zip(a[0].tolist(), b[0].tolist(), strict=True)]

    def _trials(self) -> list[dict]:
        students, teacher, train = self.students(range(self.trials))
        start = students.a.clone()
        for _ in range(self.steps):
            students.step(*train)
        masses = students.b.abs() * students.a.norm(dim=-1)
        teacher_a, teacher_b = (t.unsqueeze(1).expand(-1, len(self.taus), *t.shape[1:]) for t in teacher)
        columns = {
            "turned": _mean(_angles(students.a, start), masses),
            "from_teacher": _mean(_nearest(students, teacher_a, teacher_b), masses),
            "test_loss": population_loss((students.a, students.b), (teacher_a, teacher_b)),
            "train_loss": students.losses(*train),
        }
        return [
            {"trial": trial, "tau": tau}
            | (row := {name: one[trial, s].item() for name, one in columns.items()})
            | status(row["train_loss"])
            for trial in range(self.trials)
            for s, tau in enumerate(self.taus)
        ]

    def students(self, trials: Sequence[int]) -> tuple[Students, tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The students at the start, the teacher's (a, b), and the training data (x, y)."""
        a, b, teacher_a, teacher_b, x = self.draw(trials, self._draw)
        students = Students(*at_scales(a, b, self.taus), self.step)
        return students, (teacher_a, teacher_b), (x, two_layer(teacher_a, teacher_b, x))

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, ...]:
        d, half = self.dimension, self.neurons // 2
        teacher = draw_teacher(d, generator)
        x = sphere(self.train_size, d, generator=generator)
        a = sphere(half, d, generator=generator)
        return *symmetrised(a, torch.rand(half, generator=generator, dtype=torch.float64)), *teacher, x


def _angles(a: Tensor, c: Tensor) -> Tensor:
    """Between vectors, in degrees."""
    return torch.rad2deg(torch.arccos(torch.cosine_similarity(a, c, dim=-1).clamp(-1, 1)))


def _nearest(students: Students, teacher_a: Tensor, teacher_b: Tensor) -> Tensor:
    """The angle of every neuron to the nearest of the teacher's that has its sign, 180 degrees where none has."""
    angles = _angles(students.a.unsqueeze(-2), teacher_a.unsqueeze(-3))
    same = students.b.unsqueeze(-1) * teacher_b.unsqueeze(-2) > 0
    return torch.where(same, angles, 180.0).amin(-1)


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum(-1) / weights.sum(-1)
