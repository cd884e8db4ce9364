"""The laziness criterion kappa, against the scale and against the width of a network with one hidden layer."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..anchored import check_alpha
from ..centered import CenteredModel
from ..quantities import BLUE, GREEN, PURPLE, VERMILION, Quantity
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory import kappa
from .experiment import Experiment
from .fields import key
from .run import Run
from .slopes import log_slope

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh, "softplus": F.softplus}
SOURCE = "Chizat, Oyallon & Bach 2019, section 1.2"
QUANTITIES = (
    Quantity("kappa_centered", "of alpha (h - h(w_0))", r"$\alpha (h - h(w_0))$", log=True, color=BLUE),
    Quantity("kappa_scaled", "of alpha h", r"$\alpha h$", log=True, color=VERMILION, marker="s"),
    Quantity("kappa_limit", "|h| |D^2 h| / |Dh|^2", r"$|h|\, |D^2h| / |Dh|^2$", log=True, color=VERMILION),
    Quantity("kappa_factor", "with the factor", r"$b_j \sim N(0, 1)$, factor $m^{-1/2}$", log=True, color=PURPLE),
    Quantity("kappa_plain", "without the factor", r"$b_j \sim N(0, 1/m)$", log=True, color=GREEN, marker="^"),
)


@dataclass(frozen=True)
class Kappa(Experiment):
    """kappa(w_0) = |h - y| |D^2 h| / |Dh|^2 at initialisation, against the scale alpha and the width m.

    h(x) = m^(-1/2) sum_j b_j sigma(a_j . x), all weights from N(0, 1), on ``examples`` random inputs of norm 1 with
    targets +-1: as a function of x that is LeCun's initialisation. kappa of the centered model alpha (h - h(w_0)) falls
    like 1/alpha, that of alpha h only down to |h| |D^2 h| / |Dh|^2; with the width kappa of h falls like m^(-1/2). The
    power depends on what is differentiated: where the b_j themselves are drawn from N(0, 1/m) and there is no factor,
    as torch's layers have it, h is the same function of x, but |Dh|^2 grows like m, and kappa falls like 1/m. |D^2 h|
    is a lower bound, see :func:`lazytorch.theory.kappa`.
    """

    examples: int = key(32, "inputs n", at_least=1)
    dimension: int = key(10, "of the inputs", at_least=2)
    activation: str = key("relu", "sigma", one_of=tuple(ACTIVATIONS))
    widths: tuple[int, ...] = key((16, 32, 64, 128, 256, 512, 1024), "hidden units m", at_least=1)
    alphas: tuple[float, ...] = key((0.01, 0.1, 1.0, 10.0, 100.0, 1e3, 1e4), "scales of the network of ``width``")
    width: int = key(64, "hidden units of the network that is scaled", at_least=1)
    draws: int = key(5, "networks at each width and scale", at_least=1)
    starts: int = key(3, "of the ascent to |D^2 h|", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "kappa",
            Panel(
                "scales",
                x="alpha",
                y=("kappa_scaled", "kappa_centered"),
                bounds=("kappa_limit",),
                guides=(-1,),
                xscale="log",
                ylabel="κ(w₀)",
                title="against the scale",
            ),
            Panel(
                "widths",
                x="width",
                y=("kappa_factor", "kappa_plain"),
                guides=(-0.5, -1),
                ylabel="κ(w₀)",
                title="against the width",
            ),
            caption="Left kappa of the centered model and of alpha h, whose limit is dashed; right kappa of "
            "h = m^(-1/2) sum_j b_j sigma(a_j . x) with weights from N(0, 1), and of the same function without the "
            "factor, b_j from N(0, 1/m). |D^2 h| in it is a lower bound.",
        ),
        Table("widths"),
        Table("scales"),
        Claim(
            "kappa of a centered model is proportional to 1/alpha (slope -1 within 0.01)",
            lambda summary: _is_near(summary["alpha_slope"], -1, 0.01),
            source=SOURCE,
        ),
        Claim(
            "without centering kappa of alpha h falls to |h| |D^2 h| / |Dh|^2 and no further (within 5 % at the "
            "largest alpha, where that is above 100)",
            lambda summary: None if summary["alpha_max"] <= 100 else abs(summary["over_limit"] - 1) < 0.05,
            source=SOURCE,
        ),
        Claim(
            "with the factor m^(-1/2) and weights from N(0, 1), kappa falls like m^(-1/2) (slope within 0.1)",
            lambda summary: _is_near(summary["width_slope"], -0.5, 0.1),
            source=SOURCE,
        ),
        Claim(
            "with LeCun's deviations in the weights themselves kappa falls like 1/m (slope within 0.15)",
            lambda summary: _is_near(summary["width_slope_plain"], -1, 0.15),
            source="|Dh|^2 of order m, D^2 h of order 1",
        ),
    )
    smoke = ("examples=8", "dimension=3", "widths=[4,16]", "alphas=[1,1000]", "width=4", "draws=1", "starts=1")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        super().check()
        if not self.alphas or any(check_alpha(alpha) == math.inf for alpha in self.alphas):
            raise ValueError("alphas are finite, at inf kappa is 0: give one or more, as alphas=[1,10,100]")
        if not self.widths:
            raise ValueError("widths is empty: give one or more, as widths=[16,64,256]")

    def prepare(self, run: Run) -> None:
        """Declare the quantities of the report."""
        run.quantities |= {quantity.name: quantity for quantity in QUANTITIES}

    def run(self, run: Run) -> dict:
        """scales.csv: kappa by alpha and draw; widths.csv: kappa by width and draw, in both parametrisations."""
        scales = [(alpha, draw) for alpha in self.alphas for draw in range(self.draws)]
        for alpha, draw in run.progress(scales, "scales"):
            run.part("scales", lambda a=alpha, d=draw: self._at_scale(a, d), alpha=alpha, draw=draw)
        widths = [(width, draw) for width in self.widths for draw in range(self.draws)]
        for width, draw in run.progress(widths, "widths"):
            run.part("widths", lambda w=width, d=draw: self._at_width(w, d), width=width, draw=draw)
        scales, widths = run.table("scales"), run.table("widths")
        last = [row for row in scales if row["alpha"] == max(self.alphas)]
        return {
            "alpha_slope": log_slope(scales, "alpha", "kappa_centered"),
            "width_slope": log_slope(widths, "width", "kappa_factor"),
            "width_slope_plain": log_slope(widths, "width", "kappa_plain"),
            "over_limit": sum(row["kappa_scaled"] / row["kappa_limit"] for row in last) / len(last),
            "alpha_max": max(self.alphas),
            "largest_spread": max(max(row["spread_factor"], row["spread_plain"]) for row in widths),
        }

    def _at_scale(self, alpha: float, draw: int) -> dict:
        x, y = self._data
        net = self._network(self.width, draw)
        models = CenteredModel(net, alpha), Scaled(net, alpha)
        centered, scaled = (kappa(model, x, y, self.starts, self._starts_seed()) for model in models)
        h = (net(x).norm() / math.sqrt(len(x))).item()
        limit = h * scaled.second / scaled.first**2 * alpha
        return {"kappa_centered": centered.kappa, "kappa_scaled": scaled.kappa, "kappa_limit": limit}

    def _at_width(self, width: int, draw: int) -> dict:
        x, y = self._data
        rows: dict = {}
        for name, factor in (("factor", True), ("plain", False)):
            found = kappa(self._network(width, draw, factor), x, y, self.starts, self._starts_seed())
            rows |= {f"kappa_{name}": found.kappa, f"first_{name}": found.first, f"second_{name}": found.second}
            rows |= {f"spread_{name}": found.spread}
        return rows | {"residual": found.residual}

    def _starts_seed(self) -> int:
        return int(torch.randint(2**31, ()))  # another one in every part

    def _network(self, width: int, draw: int, factor: bool = True) -> nn.Module:
        generator = torch.Generator().manual_seed(self.seed + 1 + draw)
        return TwoLayer(self.dimension, width, ACTIVATIONS[self.activation], factor, generator)

    @cached_property
    def _data(self) -> tuple[Tensor, Tensor]:
        """Inputs (n, d) of norm 1, and targets (n, 1) of +-1."""
        generator = torch.Generator().manual_seed(self.seed)
        x = torch.randn(self.examples, self.dimension, generator=generator, dtype=torch.float64)
        return F.normalize(x), 2 * torch.randint(2, (self.examples, 1), generator=generator).double() - 1


class TwoLayer(nn.Module):
    """h(x) = m^(-1/2) sum_j b_j sigma(a_j . x) with a_j, b_j ~ N(0, 1); without the factor, b_j ~ N(0, 1/m)."""

    def __init__(self, inputs: int, width: int, activation, factor: bool, generator: torch.Generator):
        super().__init__()
        options = {"generator": generator, "dtype": torch.float64}
        hidden, output = torch.randn(width, inputs, **options), torch.randn(1, width, **options)
        self.hidden = nn.Parameter(hidden)
        self.output = nn.Parameter(output if factor else output / math.sqrt(width))
        self.activation, self.factor = activation, 1 / math.sqrt(width) if factor else 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * F.linear(self.activation(F.linear(x, self.hidden)), self.output)


class Scaled(nn.Module):
    """alpha h, not centered."""

    def __init__(self, net: nn.Module, alpha: float):
        super().__init__()
        self.net, self.alpha = net, alpha

    def forward(self, x: Tensor) -> Tensor:
        return self.alpha * self.net(x)


def _is_near(slope: float | None, expected: float, tolerance: float) -> bool | None:
    return None if slope is None else abs(slope - expected) < tolerance
