"""Lambda-balanced linear networks: their training in closed form, and how far their kernel turns by lambda."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ..kernels import kernel_distance
from ..reports import Claim, Figure, Panel, Report, Table
from ..theory.linear_networks import (
    BalancedLinearNetwork,
    balanced_weights,
    conserved_quantity,
    distance_by_expansion,
    integrate_flow,
)
from .experiment import Experiment
from .fields import key
from .run import Run

EXACT = 1e-9  # of the closed form against the integrated flow, relative to Q Q^T
CONSERVED = 1e-10  # the drift of W_2^T W_2 - W_1 W_1^T along the flow, over lambda if that is above 1
MODES = "singular_value", "singular_value_in_closed_form"
TIMES = 60  # in geometric progression
ROUNDING = 1e-20  # of a loss, the square of an error that the integration leaves
LAZY = 50  # |lambda| from which on the kernel is as in the limit,
AT_REST = 1e-4  # which is to this distance at rest where it is lazy,
NEAR = 0.05  # and as near to the expansion
SOURCE = "Domine et al., ICLR 2025"


@dataclass(frozen=True)
class LinearNetwork(Experiment):
    """Gradient flow of W_2 W_1 x towards Sigma x from weights with W_2^T W_2 - W_1 W_1^T = lambda I: integrated, beside
    its closed form; and the distance of the tangent kernel at the end from that at the start.

    Training is rich near lambda = 0. For large |lambda| it is lazy where there are as many hidden units as outputs
    (lambda > 0) or inputs (lambda < 0); with fewer the larger factor of the kernel has to turn: richer than at 0.

    Entries of Sigma are N(0, 1). W_2 W_1 at the start is the product of two matrices of N(0, sigma^2), the same for all
    lambda, so that networks differ by how it is split alone. Cost: seconds.
    """

    inputs: tuple[int, ...] = key((5, 10), "of networks, whitened; the flow is that of the first", at_least=1)
    hidden: int = key(5, "units", at_least=1)
    outputs: int = key(5, "of the network", at_least=1)
    sigma: float = key(0.1, "of the entries of the two matrices whose product the network starts with", above=0)
    flows: tuple[float, ...] = key((-5.0, 0.05, 0.5, 5.0, 50.0), "lambdas whose flow is integrated")
    horizon: float = key(10.0, "time to which it is", above=0)
    magnitudes: tuple[float, ...] = key(
        (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0), "|lambda|, rising, whose kernels are compared", above=0
    )
    draws: int = key(20, "of Sigma and weights, for the kernels", at_least=1)

    report: ClassVar[Report] = Report(
        Figure(
            "flow",
            Panel(
                "flow",
                x="time",
                y="loss_in_closed_form",
                by="lambda",
                marks="loss",
                xscale="log",
                yscale="log",
                ylabel="loss above its minimum",
                title="loss",
            ),
            Panel(
                "modes",
                x="time",
                y=MODES[1],
                by="mode",
                marks=MODES[0],
                xscale="log",
                ylabel="singular values of W_2 W_1",
                title="least |lambda|",
            ),
            caption="Marks: the integrated gradient flow; lines: the closed form. Right one line a singular value: the "
            "smaller, the later learnt.",
        ),
        Figure(
            "laziness",
            Panel(
                "distances",
                x="|lambda|",
                y="kernel_distance",
                by="network",
                bounds=("expansion",),
                xscale="log",
                yscale="log",
                title="end against start",
            ),
            Panel(
                "flow",
                x="time",
                y="error_in_print",
                by="lambda",
                marks="closed_form_error",
                xscale="log",
                yscale="log",
                ylabel="relative error of Q Q^T",
                title="two forms of the solution",
            ),
            caption="Left the distance of the kernel at the end of training from that at the start: mean, least and "
            "greatest over draws; dashed its expansion in 1 / lambda. Right the closed form against the integrated "
            "flow: lines as it stands in print, marks as it is computed here.",
        ),
        Table(columns=("closed_form_error", "error_in_print", "drift_of_lambda", "expansion_error")),
        Table("kernels"),
        Table("forms"),
        Claim(
            f"W_2^T W_2 - W_1 W_1^T stays lambda I, to {CONSERVED:g}, along the integrated flow",
            lambda summary: summary["drift_of_lambda"] < CONSERVED,
            source=SOURCE,
        ),
        Claim(
            f"Q Q^T in closed form is that of the integrated flow, to {EXACT:g}, at all times",
            lambda summary: summary["closed_form_error"] < EXACT,
            source=SOURCE,
        ),
        Claim(
            "with as many hidden units as outputs (lambda > 0) or inputs (lambda < 0) the kernel turns the less the "
            "larger |lambda|",
            lambda summary: _ordered(summary["lazy_distance"], falling=True),
            source=SOURCE,
        ),
        Claim(
            f"and from |lambda| = {LAZY} on ends within {AT_REST:g} of where it was",
            lambda summary: None if (far := _far(summary["lazy_distance"])) is None else far < AT_REST,
            source=SOURCE,
        ),
        Claim(
            "with fewer hidden units the kernel turns the more the larger |lambda|",
            lambda summary: _ordered(summary["rich_distance"], falling=False),
            source=SOURCE,
        ),
        Claim(
            f"from |lambda| = {LAZY} on the mean distance is that of the expansion in 1 / lambda, within {NEAR:.0%}",
            lambda summary: None if (far := summary["expansion_error"]) is None else far < NEAR,
            source="leading order: lambda^-4 where lazy, the angle of two singular spaces where not",
        ),
    )
    smoke = ("draws=2", "flows=[0.05]", "magnitudes=[0.5,50]")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range."""
        super().check()
        if not self.flows:
            raise ValueError("flows=[] has none to integrate: give one or more lambdas, as flows=[0.05,5]")
        if not self.magnitudes or any(a >= b for a, b in pairwise(self.magnitudes)):
            raise ValueError("magnitudes are |lambda| in rising order: give one or more, as magnitudes=[0.05,5,50]")

    def prepare(self, run: Run) -> None:
        """Raise ValueError where a lambda has no weights of these shapes, or the horizon is beyond the closed form."""
        for balance in self.flows:
            self._network(self.inputs[0], balance).gram(self.horizon)
        for inputs in self.inputs:
            for sign in (-1, 1):
                self._network(inputs, sign * self.magnitudes[0])

    def run(self, run: Run) -> dict:
        """flow.csv: by lambda and time; modes.csv: singular values; distances.csv: of kernels, by draw and lambda;
        kernels.csv and forms.csv: what they tell, by lambda."""
        for balance in run.progress(self.flows, "flows"):
            rows = run.part("flow", lambda b=balance: list(self._flow(b)), **{"lambda": balance})
            run.part("forms", lambda rows=rows: _worst(rows), **{"lambda": balance})
        run.part("modes", lambda: list(self._modes(min(self.flows, key=abs))))
        for inputs, sign, magnitude in run.progress(list(product(self.inputs, (-1, 1), self.magnitudes)), "kernels"):
            keys = {"inputs": inputs, "sign": sign, "|lambda|": magnitude}
            rows = run.part("distances", lambda i=inputs, b=sign * magnitude: self._distances(i, b), **keys)
            run.part("kernels", lambda rows=rows: _spread(rows), **keys)
        kernels = run.table("kernels")
        far = [row for row in kernels if row["|lambda|"] >= LAZY and row["expansion"] is not None]
        errors = [abs(row["kernel_distance"] / row["expansion"] - 1) for row in far]
        return _worst(run.table("forms")) | {
            "lazy_distance": self._by_network(row for row in kernels if row["lazy"]),
            "rich_distance": self._by_network(row for row in kernels if not row["lazy"]),
            "expansion_error": max(errors, default=None),
        }

    def _network(self, inputs: int, balance: float, draw: int = 0) -> BalancedLinearNetwork:
        generator = torch.Generator().manual_seed(self.seed * self.draws + draw)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        correlation = normal(self.outputs, inputs)
        initial = self.sigma**2 * normal(self.outputs, self.hidden) @ normal(self.hidden, inputs)
        rotation, _ = torch.linalg.qr(normal(self.hidden, self.hidden))
        return BalancedLinearNetwork(*balanced_weights(initial, balance, rotation), correlation)

    @property
    def _times(self) -> list[float]:
        return np.geomspace(self.horizon / 1000, self.horizon, TIMES).tolist()

    def _integrated(self, network: BalancedLinearNetwork) -> Iterator[tuple[float, Tensor, Tensor]]:
        flow = integrate_flow(network.w_1, network.w_2, network.correlation, self._times)
        for time, weights in zip(self._times, flow, strict=True):
            yield time, *weights

    def _flow(self, balance: float) -> Iterator[dict]:
        network = self._network(self.inputs[0], balance)
        for time, w_1, w_2 in self._integrated(network):
            gram, closed, printed = _gram(w_1, w_2), network.gram(time), network.gram_in_print(time)
            drift = conserved_quantity(w_1, w_2) - balance * torch.eye(self.hidden, dtype=torch.float64)
            yield {
                "time": time,
                "loss": _above_rounding(network.loss(gram)),
                "loss_in_closed_form": _above_rounding(network.loss(closed)),
                "closed_form_error": ((closed - gram).norm() / gram.norm()).item(),
                "error_in_print": ((printed - gram).norm() / gram.norm()).item(),
                "drift_of_lambda": drift.abs().max().item() / max(1, abs(balance)),
            }

    def _modes(self, balance: float) -> Iterator[dict]:
        network = self._network(self.inputs[0], balance)
        for time, w_1, w_2 in self._integrated(network):
            products = w_2 @ w_1, network.product(network.gram(time))
            values = [torch.linalg.svdvals(matrix).tolist() for matrix in products]
            for mode, pair in enumerate(zip(*values, strict=True), start=1):
                yield {"time": time, "mode": mode} | dict(zip(MODES, pair, strict=True))

    def _distances(self, inputs: int, balance: float) -> list[dict]:
        """Between the kernels at the start and at the end, and to leading order, by draw."""
        lazy = self.hidden == (self.outputs if balance > 0 else inputs)
        sides = "either sign" if inputs == self.outputs else f"lambda {'>' if balance > 0 else '<'} 0"
        networks = [self._network(inputs, balance, draw) for draw in range(self.draws)]
        kernels = [(network.kernel(network.gram(0)), network.kernel(network.limit())) for network in networks]
        expansions = [distance_by_expansion(network) for network in networks]
        told = np.mean(expansions) <= 1  # the largest distance of two kernels
        return [
            {
                "draw": draw,
                "network": f"{inputs} inputs, {sides}",
                "lazy": lazy,
                "kernel_distance": kernel_distance(*ends),
                "expansion": expansion if told else None,
            }
            for draw, (ends, expansion) in enumerate(zip(kernels, expansions, strict=True))
        ]

    def _by_network(self, kernels: Iterable[dict]) -> dict:
        """Network -> |lambda| -> mean distance."""
        groups: dict[str, dict] = {}
        for row in kernels:
            name = f"{row['inputs']} inputs, lambda {'>' if row['sign'] > 0 else '<'} 0"
            groups.setdefault(name, {})[f"{row['|lambda|']:g}"] = row["kernel_distance"]
        return groups


def _ordered(groups: Mapping, falling: bool) -> bool | None:
    """Whether the distances of every network fall, or rise, with |lambda|; None if there is no such network."""
    pairs = [pair for distances in groups.values() for pair in pairwise(distances.values())]
    return all(a > b if falling else a < b for a, b in pairs) if pairs else None


def _far(groups: Mapping) -> float | None:
    """The largest distance at a |lambda| of LAZY or more."""
    found = [d for distances in groups.values() for size, d in distances.items() if float(size) >= LAZY]
    return max(found, default=None)


def _above_rounding(loss: float) -> float | None:
    return loss if loss > ROUNDING else None


def _gram(w_1: Tensor, w_2: Tensor) -> Tensor:
    both = torch.cat([w_1.T, w_2])
    return both @ both.T


def _worst(rows: Sequence[dict]) -> dict:
    return {name: max(row[name] for row in rows) for name in ("closed_form_error", "error_in_print", "drift_of_lambda")}


def _spread(rows: Sequence[dict]) -> dict:
    found = [row["kernel_distance"] for row in rows]
    return {
        "kernel_distance": float(np.mean(found)),
        "least": min(found),
        "greatest": max(found),
        "expansion": None if rows[0]["expansion"] is None else float(np.mean([row["expansion"] for row in rows])),
        "lazy": rows[0]["lazy"],
    }
