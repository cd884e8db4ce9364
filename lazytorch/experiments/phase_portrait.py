"""The final loss over the plane of alpha and the learning rate, and the largest rate that converges."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap

from ..centered import CenteredModel
from ..kernels import kernel_operator, top_eigenpairs
from ..quantities import Quantity
from ..reports import Claim, Figure, HeatMap, Panel, Report, Table
from ..theory import deep_scalar_edge, deep_scalar_losses
from ..theory.slopes import log_slope as exponent
from ..training.objective import OBJECTIVES
from .fields import key
from .problem import NetworkExperiment
from .run import Run
from .slopes import log_slope

WITHIN = 0.15  # of the slopes of a network
TOY_LAYERS = (2, 3, 4)
TOY_ALPHAS = tuple(10.0**power for power in range(-5, 6))
TOY_SHARES = tuple(10 ** (power / 25) for power in range(-25, 26))  # of the edge
RICH, LAZY = 0.1, 10.0  # up to and from where alpha is far from 1


@dataclass(frozen=True)
class PhasePortrait(NetworkExperiment):
    """Full-batch gradient descent on theta at every alpha and learning rate, in float32, from alpha = 1e-3 to 1e5.

    A training has converged if its loss ends below ``share`` of that at the start; the largest rate that converges is
    that of the first run of rates that do, from below. For alpha >> 1 and the square loss it is 2 / lambda_max of the
    tangent kernel, to factors of a catapult; for cross-entropy it grows like alpha, as the lazy logits are stable at
    any rate and the network is lazy only while |theta| << alpha. For alpha << 1 the outputs must reach 1/alpha: if the
    network is homogeneous of degree L, f(c w) = c^L f(w), its weights grow like alpha^(-1/L), its tangent kernel in
    theta by their power 2 L - 2, and the largest rate falls like alpha^(2 - 2/L). As steps on w, eta_w = eta / alpha^2:
    alpha^-2 and alpha^(-2/L) (Atanasov et al. 2025, in gamma = 1/alpha).

    The rates at one alpha are trained side by side by ``torch.func.vmap``, which the network must allow. Cost:
    ``steps`` full batches a cell, with the weights and activations of all rates in memory. The table toy has the same
    boundary of the deep linear toy, beside :func:`lazytorch.theory.deep_scalar_edge`.
    """

    alphas: tuple[float, ...] = key(
        (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 1e2, 3e2, 1e3, 3e3, 1e4, 3e4, 1e5),
        "the scales, in (0, inf]",
        above=0,
    )
    smallest_lr: float = key(1e-5, "the smallest learning rate", above=0)
    largest_lr: float = key(10.0, "the largest; of cross_entropy some decades above the largest alpha", above=0)
    lrs_per_decade: int = key(8, "learning rates in a factor of 10", at_least=1)
    steps: int = key(300, "of full-batch gradient descent, without momentum", at_least=1)
    loss: str = key("mse", "mse or cross_entropy", one_of=tuple(OBJECTIVES))
    share: float = key(0.5, "of the loss at the start, below which a training has converged", above=0, below=1)

    report: ClassVar[Report] = Report(
        Figure(
            "portrait",
            HeatMap("losses", x="alpha", y="lr", value="train_loss", contour="below_boundary"),
            Panel("boundary", x="alpha", y="boundary", bounds=("lazy", "rich"), yscale="log"),
            caption="Left the training loss after the last step, hatched where it is above that at the start, with the "
            "largest rate that converges; right that rate, with the edge of the tangent kernel at w_0 and the power "
            "law of a homogeneous network, whose constant is fitted at alpha <= 0.1.",
        ),
        Figure(
            "toy",
            Panel("toy", x="alpha", y="boundary", bounds=("edge",), by="layers", yscale="log"),
            caption="The deep linear toy: the largest rate that converges, and the edge 2 / sharpness at the solution, "
            "which is alpha^(2 - 2/L) / L for small and 1/L for large alpha.",
        ),
        Table("boundary", ("alpha", "boundary", "lazy", "rich", "boundary_w")),
        Table("toy", ("layers", "alpha", "boundary", "edge", "boundary_w")),
        Claim(
            "at alpha >= 10 the largest rate does not depend on alpha (mse), or is proportional to it (cross_entropy), "
            f"its slope within {WITHIN}",
            lambda summary: _is_close(summary["lazy_slope"], summary["lazy_slope_predicted"], WITHIN),
            source="Atanasov et al. 2025, where eta_w* ~ gamma^2 (gamma for cross-entropy)",
        ),
        Claim(
            "at alpha >= 10 no rate below 2 / lambda_max of the tangent kernel fails to converge (mse)",
            lambda summary: None if summary["lazy_over_edge"] is None else summary["lazy_over_edge"] >= 1,
            source="gradient descent on a quadratic",
        ),
        Claim(
            f"at alpha <= 0.1 the largest rate of a network that is homogeneous of degree L is like alpha^(2 - 2/L), "
            f"its slope within {WITHIN}",
            lambda summary: _is_close(summary["rich_slope"], summary["rich_slope_predicted"], WITHIN),
            source="Atanasov et al. 2025, where eta_w* ~ gamma^(2/L)",
        ),
        Claim(
            "of the deep linear toy the largest rate on w has slope 2 for gamma <= 0.1 and 2/L for gamma >= 100, "
            "within 0.05, and is 2 / sharpness at the solution, within the steps of the scan",
            lambda summary: summary["toy_slope_error"] < 0.05 and abs(summary["toy_error"]) < 0.1,
            source="Atanasov et al. 2025; the prefactor is ours",
        ),
    )
    smoke = (
        *("data.train_size=20", "data.test_size=10", "model.width=8", "steps=20"),
        *("alphas=[1e-2,0.1,10,100]", "lrs_per_decade=2"),
    )

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that full-batch training has no use for."""
        super().check()
        if not self.alphas or len(set(self.alphas)) < len(self.alphas):
            raise ValueError("give one or more alphas, none of them twice, as alphas=[1e-2,1,1e2]")
        if self.smallest_lr >= self.largest_lr:
            raise ValueError(
                f"smallest_lr={self.smallest_lr:g} is not below largest_lr={self.largest_lr:g}: give a larger one"
            )
        self.check_whole_sets()

    @property
    def lrs(self) -> list[float]:
        """The learning rates: powers of ten, and between them in equal ratios."""
        low, high = (math.log10(lr) * self.lrs_per_decade for lr in (self.smallest_lr, self.largest_lr))
        powers = range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        return [10 ** (power / self.lrs_per_decade) for power in powers]

    def prepare(self, run: Run) -> None:
        """Raise ValueError if the network is another one while it trains, of which copies cannot be trained at once."""
        run.problem.check_one_mode("which cannot be trained at several rates side by side")
        run.quantities |= {quantity.name: quantity for quantity in QUANTITIES}

    def run(self, run: Run) -> dict:
        """losses.csv: the loss after the last step, by alpha and lr; boundary.csv, toy.csv: the largest rates."""
        for alpha in run.progress(sorted(self.alphas), "alphas"):
            run.part("losses", lambda alpha=alpha: self._losses(run, alpha), alpha=alpha)
        for layers in TOY_LAYERS:
            run.part("toy", lambda layers=layers: _toy(layers), layers=layers)
        edge, degree = self._edge(run), _degree(run)
        boundary = run.part("boundary", lambda: _boundary(run.table("losses"), edge, degree))
        return self._summary(boundary, degree) | {"edge": edge} | _toy_summary(run.table("toy"))

    def _losses(self, run: Run, alpha: float) -> list[dict]:
        train, _ = run.problem.data("float32")
        x, y = train.head(len(train))
        model, objective = CenteredModel(run.problem.network(), alpha), OBJECTIVES[self.loss]
        start = objective(torch.zeros(len(x), len(run.problem.train.classes), device=x.device), y).item()

        def loss(theta: dict[str, Tensor]) -> Tensor:
            return objective(functional_call(model, theta, (x,)), y)

        ends = _descend(loss, dict(model.named_parameters()), torch.tensor(self.lrs, device=x.device), self.steps)
        converged = [end < self.share * start for end in ends]
        boundary = largest_of_first(self.lrs, converged)
        return [
            {
                "lr": lr,
                "train_loss": end,
                "status": "finished" if end <= start else "diverged",
                "converged": is_low,
                "below_boundary": boundary is not None and lr <= boundary,
            }
            for lr, end, is_low in zip(self.lrs, ends, converged, strict=True)
        ]

    def _edge(self, run: Run) -> float | None:
        """2 / lambda_max of the mean square loss, n K / lambda_max(Theta)."""
        if self.loss != "mse":
            return None
        x, _ = run.problem.data("float64")[0].head(len(run.problem.train.images))
        top = top_eigenpairs(kernel_operator(run.problem.network().double(), x), 1)[0].max().item()
        return len(x) * len(run.problem.train.classes) / top

    def _summary(self, boundary: list[dict], degree: int | None) -> dict:
        step = 10 ** (1 / self.lrs_per_decade)
        lazy = [row for row in boundary if row["alpha"] >= LAZY and row["boundary"] and row["lazy"]]
        return {
            "lazy_slope": _slope(boundary, lambda alpha: alpha >= LAZY),
            "lazy_slope_predicted": 0 if self.loss == "mse" else 1,
            "rich_slope": _slope(boundary, lambda alpha: alpha <= RICH),
            "rich_slope_predicted": None if degree is None else 2 - 2 / degree,
            "lazy_over_edge": min((row["boundary"] * step / row["lazy"] for row in lazy), default=None),
            "degree": degree,
        }


QUANTITIES = (
    Quantity("lr", "the learning rate", r"learning rate $\eta$", log=True),
    Quantity("boundary", "the largest rate that converges", "largest rate that converges", log=True),
    Quantity("boundary_w", "the same as a step on w, over alpha^2", "largest rate on w", log=True),
    Quantity("lazy", "n K / lambda_max of the kernel at w_0", r"lazy bound $2\,/\,\lambda_{\max}(\Theta)$", log=True),
    Quantity("rich", "c alpha^(2 - 2/L), c fitted at alpha <= 0.1", r"rich bound $\sim\alpha^{2 - 2/L}$", log=True),
    Quantity("edge", "(1 + 1/alpha)^(2/L - 2) / L", "bound 2 / sharpness at the solution", log=True),
    Quantity("layers", "weights that are multiplied", "layers $L$", digits="g"),
)


def largest_of_first(lrs: Sequence[float], converged: Sequence[bool]) -> float | None:
    """The largest of the first run of rates, in rising order, that have converged; None if the rates do not reach it.

    Rates beyond, at which a training has come back by luck, do not count.
    """
    if True not in converged:
        return None
    first = list(converged).index(True)
    return next((lrs[at - 1] for at in range(first, len(lrs)) if not converged[at]), None)


def _descend(loss: Callable, theta: dict[str, Tensor], lrs: Tensor, steps: int) -> list[float]:
    """The loss after ``steps`` of gradient descent from ``theta`` at every one of ``lrs``, all at once."""
    step_of = vmap(grad_and_value(loss))
    theta = {name: t.detach().expand(len(lrs), *t.shape) for name, t in theta.items()}
    for _ in range(steps):
        gradient, _ = step_of(theta)
        theta = {name: t - lrs.view(-1, *[1] * (t.dim() - 1)) * gradient[name] for name, t in theta.items()}
    return vmap(loss)(theta).tolist()


@torch.no_grad()
def _degree(run: Run) -> int | None:
    """L >= 1 with f(2 w_0) = 2^L f(w_0) != 0 for the outputs on training images; None if there is none."""
    x, _ = run.problem.data("float64")[0].head(64)
    net = run.problem.network().double()
    outputs, names = net(x), dict(net.named_parameters())
    doubled = functional_call(net, {name: 2 * w for name, w in names.items()}, (x,))
    if not outputs.any():
        return None
    degree = max(1, round(math.log2((doubled.norm() / outputs.norm()).item())))
    return degree if torch.allclose(doubled, 2**degree * outputs, rtol=1e-9, atol=0) else None


def _boundary(losses: list[dict], edge: float | None, degree: int | None) -> list[dict]:
    """The largest rate that converges by alpha, and what theory says of both ends."""
    rows = []
    for alpha in dict.fromkeys(row["alpha"] for row in losses):
        own = [row for row in losses if row["alpha"] == alpha]
        rows.append({"alpha": alpha} | _rate(alpha, [row["lr"] for row in own], [row["converged"] for row in own]))
    power = 0.0 if degree is None else 2 - 2 / degree
    rich = [row for row in rows if degree is not None and row["alpha"] <= RICH and row["boundary"]]
    constants = [math.log(row["boundary"] / row["alpha"] ** power) for row in rich]
    for row in rows:
        has_law = constants and row["alpha"] < 1
        row["lazy"] = edge
        row["rich"] = math.exp(np.mean(constants)) * row["alpha"] ** power if has_law else None
    return rows


def _toy(layers: int) -> list[dict]:
    alphas = torch.tensor(TOY_ALPHAS, dtype=torch.float64)[:, None]
    edges = deep_scalar_edge(layers, alphas)
    lrs = edges * torch.tensor(TOY_SHARES, dtype=torch.float64)
    converged = deep_scalar_losses(layers, alphas, lrs, 2000) < 1e-6
    rows = zip(TOY_ALPHAS, edges[:, 0].tolist(), lrs.tolist(), converged.tolist(), strict=True)
    return [{"alpha": alpha, "edge": edge} | _rate(alpha, lrs, ends) for alpha, edge, lrs, ends in rows]


def _rate(alpha: float, lrs: Sequence[float], converged: Sequence[bool]) -> dict:
    """The largest rate that converges, as a step on theta and on w."""
    found = largest_of_first(lrs, converged)
    return {"boundary": found, "boundary_w": None if found is None else found / alpha**2}


def _toy_summary(rows: list[dict]) -> dict:
    """The slopes of the rate on w in gamma = 1/alpha, the largest error of these, and that of the edge."""
    slopes, errors = {}, []
    for layers in TOY_LAYERS:
        own = [row for row in rows if row["layers"] == layers]
        ends = {"lazy": (lambda alpha: alpha >= LAZY, 2), "rich": (lambda alpha: alpha <= RICH**2, 2 / layers)}
        for name, (where, predicted) in ends.items():
            alphas, boundaries = zip(*((r["alpha"], r["boundary"]) for r in own if where(r["alpha"])), strict=True)
            slopes[f"{name}_{layers}"] = 2 - exponent(alphas, boundaries)
            errors.append(abs(slopes[f"{name}_{layers}"] - predicted))
    over = [row["edge"] / row["boundary"] - 1 for row in rows]
    return {"toy": slopes, "toy_slope_error": max(errors), "toy_error": max(over, key=abs)}


def _slope(rows: list[dict], where: Callable[[float], bool]) -> float | None:
    """d log boundary / d log alpha over the finite alphas ``where`` there is a boundary; None of fewer than 2."""
    return log_slope([row for row in rows if where(row["alpha"])], "alpha", "boundary")


def _is_close(slope: float | None, predicted: float | None, within: float) -> bool | None:
    return None if slope is None or predicted is None else abs(slope - predicted) < within
