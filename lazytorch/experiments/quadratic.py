"""Gradient descent, its flow and stochastic descent on least squares, and exercises on convex functions."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from scipy.integrate import solve_ivp
from torch import Tensor

from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.convex import descend_absolute, descend_huber, descend_quadratic
from ..theory.descent import descend
from ..theory.least_squares import LeastSquares, stochastic_descent
from .experiment import Experiment
from .fields import key
from .run import Run

ROUNDING = 1e-12  # of a thousand steps in float64
SPREAD = 6.0  # standard errors within which means over the chains are those of theory at every step
FINISHED = 1e-9  # loss of an exercise, from which on it is not shown


@dataclass(frozen=True)
class Exercise:
    """A function R(w) >= 0 = min R, a start and a step, and the iterates (T, d) in closed form at the steps (T,)."""

    objective: Callable[[Tensor], Tensor]
    start: tuple[float, ...]
    lr: float
    predicted: Callable[[Tensor], list[Tensor]]


SLOPE, EPSILON = 10.0, 0.1
EXERCISES = {
    "G|w|, epsilon/G^2": Exercise(
        lambda w: SLOPE * w.abs().sum(),
        (1.003,),
        EPSILON / SLOPE**2,
        lambda t: [descend_absolute(1.003, EPSILON / SLOPE**2, t, SLOPE)],
    ),
    "G|w|, G/epsilon": Exercise(
        lambda w: SLOPE * w.abs().sum(),
        (1.003,),
        SLOPE / EPSILON,
        lambda t: [descend_absolute(1.003, SLOPE / EPSILON, t, SLOPE)],
    ),
    "Huber": Exercise(
        lambda w: F.huber_loss(w, torch.zeros_like(w), reduction="sum", delta=0.5),
        (10.3,),
        0.3,
        lambda t: [descend_huber(10.3, 0.3, t, 0.5)],
    ),
    "x^2/2 + 1e-5 y^2/2": Exercise(
        lambda w: (w[0] ** 2 + 1e-5 * w[1] ** 2) / 2,
        (1.0, 300.0),
        1.5,
        lambda t: [descend_quadratic(1.0, 1.5, t), descend_quadratic(300.0, 1.5, t, 1e-5)],
    ),
    "x^2/2 + |y|": Exercise(
        lambda w: w[0] ** 2 / 2 + w[1].abs(),
        (3.0, 1.01),
        0.1,
        lambda t: [descend_quadratic(3.0, 0.1, t), descend_absolute(1.01, 0.1, t)],
    ),
}


@dataclass(frozen=True)
class Quadratic(Experiment):
    """Descent, flow and stochastic descent on least squares, and exercises, measured beside their closed forms.

    In float64: the modes of least squares under gradient descent, with more examples than dimensions and with fewer,
    their flow dw/dt = -A w + b, the noise of stochastic descent of one example a step
    (:mod:`lazytorch.theory.least_squares`), and (sub)gradient descent on four functions
    (:mod:`lazytorch.theory.convex`). The examples are Gaussian, with standard deviations from 1 to ``smallest``.
    """

    dimensions: int = key(4, "of the problem with more examples", at_least=1)
    examples: int = key(40, "of it", at_least=2)
    overparameterised: tuple[int, int] = key((20, 8), "dimensions and examples of the other problem", at_least=1)
    smallest: float = key(0.5, "standard deviation among the dimensions", above=0)
    noise: float = key(0.5, "standard deviation of the targets' noise", at_least=0)
    share: float = key(0.9, "the step of gradient descent, as a share of the edge 2 / lambda_max", above=0, below=1)
    steps: int = key(1000, "of gradient descent", at_least=1)
    lrs: tuple[float, ...] = key((0.05, 0.1, 0.2), "steps of stochastic descent", above=0)
    stochastic_steps: int = key(700, "of it", at_least=1)
    chains: int = key(10000, "independent runs, over which the mean is taken", at_least=2)
    exercise_steps: int = key(150, "on each function", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "quadratic",
            Panel(
                "modes",
                x="step",
                y="predicted",
                marks="measured",
                by="eigenvalue",
                yscale="log",
                ylabel="|v . (w - w*)|",
                title="modes",
            ),
            Panel(
                "noise",
                x="step",
                y="predicted",
                marks="measured",
                bounds=("floor",),
                by="lr",
                yscale="log",
                ylabel="mean excess loss",
                title="one example a step",
            ),
            Panel(
                "exercises",
                x="step",
                y="predicted",
                marks="measured",
                by="exercise",
                yscale="log",
                ylabel="lowest loss so far",
                title="exercises",
            ),
            caption="Marks measured, lines in closed form. Left the modes of gradient descent, by eigenvalue; middle "
            "the mean loss of stochastic descent above the least, by step size, and the exact noise floor (dashed); "
            "right the lowest loss on four functions, of the subgradient at epsilon/G^2 and at the printed step.",
        ),
        Table("spans", title="Gradient descent and its flow"),
        Table("floors", title="The noise floor"),
        Table("exercise_ends", title="Exercises"),
        Claim(
            f"iterates are those of the modes, (1 - eta lambda_i)^t, within {ROUNDING:g}",
            lambda summary: summary["descent_error"] < ROUNDING,
            source="linear algebra",
        ),
        Claim(
            f"they never leave w_0 + span(x_i), within {ROUNDING:g}",
            lambda summary: summary["outside_span"] < ROUNDING,
            source="the gradient is a combination of the x_i",
        ),
        Claim(
            f"from 0 they end at the solution of least norm, within {ROUNDING:g}",
            lambda summary: None if summary["limit_error"] is None else summary["limit_error"] < ROUNDING,
            source="the same, with fewer examples than dimensions",
        ),
        Claim(
            "dw/dt = -A w + b, integrated, is its closed form within 1e-9",
            lambda summary: summary["flow_error"] < 1e-9,
            source="linear equations",
        ),
        Claim(
            "the mean loss of stochastic descent is that of the exact moments at every step, and the stationary one at "
            f"the end, within {SPREAD:g} standard errors",
            lambda summary: summary["noise_errors"] < SPREAD,
            source="the recursion of m and C in lazytorch.theory.least_squares",
        ),
        Claim(
            f"on every function the iterates are those of the closed form within {ROUNDING:g} of the farthest",
            lambda summary: summary["exercise_error"] < ROUNDING,
        ),
        Claim(
            "the subgradient step epsilon/G^2 comes within epsilon of the minimum, the printed G/epsilon never",
            lambda summary: summary["subgradient"],
            source="Nesterov 2004, section 3.2.3",
        ),
    )
    smoke = ("steps=20", "stochastic_steps=20", "chains=50", "exercise_steps=20")

    def run(self, run: Run) -> dict:
        """modes.csv, spans.csv; noise.csv, floors.csv; exercises.csv, exercise_ends.csv."""
        return self._run_descent(run) | self._run_noise(run) | self._run_exercises(run)

    def _problem(self, dimensions: int, examples: int) -> tuple[LeastSquares, Tensor]:
        """Examples, noisy targets of a linear function, and a start that is not in their span."""
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        x = normal(examples, dimensions) * torch.linspace(1, self.smallest, dimensions, dtype=torch.float64)
        y = x @ normal(dimensions) + self.noise * normal(examples)
        return LeastSquares(x, y), normal(dimensions)

    def _run_descent(self, run: Run) -> dict:
        shapes = {"more examples": (self.dimensions, self.examples), "fewer examples": self.overparameterised}
        problem, start = self._problem(*shapes["more examples"])
        run.part("modes", lambda: self._modes(problem, start))
        for name, shape in shapes.items():
            for begin in ("0", "drawn"):
                setting = (*self._problem(*shape), begin == "drawn")
                run.part("spans", lambda setting=setting: self._span(*setting), problem=name, start=begin)
        rows = run.table("spans")
        largest = {name: max(row[name] for row in rows) for name in ("descent_error", "outside_span", "flow_error")}
        limits = [row["limit_error"] for row in rows if row["limit_error"] is not None]
        return largest | {"limit_error": max(limits, default=None)}

    def _iterates(self, problem: LeastSquares, start: Tensor) -> tuple[Tensor, Tensor]:
        """w_t (steps + 1, d), measured and in closed form."""
        w = start.clone().requires_grad_()
        lr = self.share * 2 / problem.eigenvalues[-1].item()
        measured = [w.detach().clone() for _ in descend([w], lambda: problem.loss(w), lr, self.steps)]
        return torch.stack(measured), problem.descent(start, lr, torch.arange(self.steps + 1))

    def _modes(self, problem: LeastSquares, start: Tensor) -> list[dict]:
        measured, predicted = (problem.modes(w).abs() for w in self._iterates(problem, start))
        scale = predicted[0].max()
        return [
            {"eigenvalue": round(value.item(), 3), "step": step, "measured": found.item(), "predicted": known.item()}
            for value, column, other in zip(problem.eigenvalues, measured.T, predicted.T, strict=True)
            for step, (found, known) in enumerate(zip(column, other, strict=True))
            if known > 1e-13 * scale  # beyond, what is measured is rounding
        ]

    def _span(self, problem: LeastSquares, start: Tensor, drawn: bool) -> dict:
        """Errors relative to |w_0 - w*|; that of the limit is None while a mode is still on its way."""
        start = start * drawn
        scale = (start - problem.solution).norm()
        measured, predicted = self._iterates(problem, start)
        limit = problem.solution + problem.outside_span(start)
        arrived = (predicted[-1] - limit).norm() < ROUNDING / 10 * scale
        times = torch.linspace(0, 10 / problem.eigenvalues[-1].item(), 11, dtype=torch.float64)
        return {
            "descent_error": ((measured - predicted).norm(dim=1).max() / scale).item(),
            "outside_span": (problem.outside_span(measured - start).norm(dim=1).max() / scale).item(),
            "limit_error": ((measured[-1] - limit).norm() / scale).item() if arrived else None,
            "flow_error": (
                (_integrate(problem, start, times) - problem.flow(start, times)).norm(dim=1).max() / scale
            ).item(),
        }

    def _run_noise(self, run: Run) -> dict:
        problem, start = self._problem(self.dimensions, self.examples)
        for lr in run.progress(self.lrs, "stochastic descent"):
            floor = problem.excess(problem.stationary(lr)).item()
            rows = run.part("noise", lambda lr=lr, floor=floor: self._noise(problem, start, lr, floor), lr=lr)
            small = {"small_steps": problem.floor_of_small_steps(lr)}
            run.part("floors", lambda rows=rows, floor=floor, small=small: _floor(rows, floor) | small, lr=lr)
        return {"noise_errors": max(max(row["curve_errors"], row["floor_errors"] or 0) for row in run.table("floors"))}

    def _noise(self, problem: LeastSquares, start: Tensor, lr: float, floor: float) -> list[dict]:
        """The mean excess loss over the chains, its standard error, and what it is to be."""
        least = problem.loss(problem.solution)
        _, seconds = problem.moments(start, lr, self.stochastic_steps)
        chains = stochastic_descent(problem, start, lr, self.stochastic_steps, self.chains)
        rows = []
        for step, (w, predicted) in enumerate(zip(chains, problem.excess(seconds).tolist(), strict=True)):
            excess = problem.loss(w) - least
            error = excess.std().item() / self.chains**0.5
            row = {"step": step, "measured": excess.mean().item(), "error": error, "predicted": predicted}
            rows.append(row | {"floor": floor})
        return rows

    def _run_exercises(self, run: Run) -> dict:
        for name, exercise in EXERCISES.items():
            rows = run.part("exercises", lambda exercise=exercise: self._exercise(exercise), exercise=name)
            run.part("exercise_ends", lambda rows=rows, lr=exercise.lr: _end(rows, lr), exercise=name)
        rows = {row["exercise"]: row for row in run.table("exercise_ends")}
        right, printed = (rows[name]["measured"] for name in list(EXERCISES)[:2])
        return {
            "exercise_error": max(row["error"] for row in rows.values()),
            "subgradient": right <= EPSILON < printed if self.exercise_steps >= 101 else None,
        }

    def _exercise(self, exercise: Exercise) -> list[dict]:
        w = torch.tensor(exercise.start, dtype=torch.float64, requires_grad=True)
        known = torch.stack(exercise.predicted(torch.arange(self.exercise_steps + 1)), 1)
        losses = descend([w], lambda: exercise.objective(w), exercise.lr, self.exercise_steps)
        rows, lowest = [], {"measured": math.inf, "predicted": math.inf}
        for step, (loss, predicted) in enumerate(zip(losses, known, strict=True)):
            values = {"measured": loss, "predicted": exercise.objective(predicted).item()}
            lowest = {name: min(lowest[name], value) for name, value in values.items()}
            error = ((w.detach() - predicted).norm() / known.norm(dim=1).max()).item()
            rows.append({"step": step} | lowest | {"error": error})
        return [row for row in rows if row["predicted"] > FINISHED]


def _integrate(problem: LeastSquares, start: Tensor, times: Tensor) -> Tensor:
    """w (T, d) of dw/dt = -A w + b, by Runge-Kutta."""
    hessian, b = problem.hessian.numpy(), (problem.x.T @ problem.y / len(problem.x)).numpy()
    span = (times[0].item(), times[-1].item())
    options = {"method": "DOP853", "t_eval": times.numpy(), "rtol": 1e-12, "atol": 1e-13}
    return torch.tensor(solve_ivp(lambda _, w: b - hessian @ w, span, start.numpy(), **options).y.T)


def _floor(rows: list[dict], floor: float) -> dict:
    """Departures in standard errors, that from the floor None where the moments are not there yet."""
    end = rows[-1]
    there = abs(end["predicted"] - floor) < 0.1 * end["error"]
    return {
        "measured": end["measured"],
        "error": end["error"],
        "floor": floor,
        "floor_errors": abs(end["measured"] - floor) / end["error"] if there else None,
        "curve_errors": max(abs(row["measured"] - row["predicted"]) / row["error"] for row in rows[1:]),
    }


def _end(rows: list[dict], lr: float) -> dict:
    end = rows[-1]
    errors = max(row["error"] for row in rows)
    return {"lr": lr, "steps": end["step"], "measured": end["measured"], "predicted": end["predicted"], "error": errors}
