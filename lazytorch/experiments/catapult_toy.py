"""The toy of the catapult: trained as a module, over its exact recursion and over draws of its weights."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..theory.catapult import CatapultToy, catapult_recursion, toy_starts, train_toy

#: Rate -> the largest |f| and the last eta lambda that others have measured of the toy, n = 4096, y = 0.
KNOWN = {2.5: (20, 1.28), 3.5: (44, 0.05), 3.9: (52, 0.36)}
SHOWN, FAINT = 40, 1e-12  # steps of the toy in the figure, and the least |f|
CENTRAL = (0.025, 0.975)  # of the draws


@dataclass(frozen=True)
class Toy:
    """Of ``units``, trained for ``steps`` at rates in units of 1 / lambda_0, beside ``draws`` of its weights."""

    units: int
    steps: int
    draws: int
    seed: int

    def _made(self, rate: float) -> tuple[CatapultToy, float]:
        """One draw, the same at all rates and targets, and the step."""
        generator = torch.Generator().manual_seed(self.seed)
        toy = CatapultToy(*torch.randn(2, self.units, generator=generator, dtype=torch.float64))
        return toy, rate / toy.state()[1].item()

    def curves(self, rate: float) -> list[dict]:
        """|f| and eta lambda of the first steps at y = 0, by the recursion and as trained, while they are large."""
        toy, lr = self._made(rate)
        predicted = catapult_recursion(*toy.state(), 0.0, lr, self.units, min(self.steps, SHOWN))
        measured = train_toy(toy, 0.0, lr, min(self.steps, SHOWN))
        outputs, kernels = ([values.tolist() for values in pair] for pair in zip(predicted, measured, strict=True))
        found = {
            "output": [[abs(f) for f in values] for values in outputs],
            "eta_lambda": [[lr * kernel for kernel in values] for values in kernels],
        }
        return [
            {"quantity": name, "step": step, "recursion": known, "measured": mark}
            for name, pair in found.items()
            for step, (known, mark) in enumerate(zip(*pair, strict=False))
            if found["eta_lambda"][0][step] < 2 * rate and found["output"][0][step] > FAINT
        ]

    def end(self, rate: float, target: float) -> dict:
        """The error of the recursion, peak and end of one draw, and the central 95 % of those of all draws."""
        toy, lr = self._made(rate)
        expected, expected_kernels = catapult_recursion(*toy.state(), target, lr, self.units, self.steps)
        outputs, kernels = train_toy(toy, target, lr, self.steps)
        starts, drawn = toy_starts(self.units, self.draws)
        every, every_kernel = catapult_recursion(starts, drawn, target, rate / drawn, self.units, self.steps)
        whole = every[-1].isfinite()
        row: dict = {"error": None, "peak": None, "end": None, "converging": whole.double().mean().item()}
        if len(outputs) > self.steps:
            error = (outputs - expected).abs() / (math.sqrt(self.units) * kernels / 2)
            error_of_kernel = (kernels - expected_kernels).abs() / kernels
            row["error"] = torch.maximum(error, error_of_kernel).max().item()
            row |= {"peak": outputs.abs().max().item(), "end": lr * kernels[-1].item()}
        spread = {"peak": every[:, whole].abs().amax(0), "end": (rate * every_kernel[-1] / drawn)[whole]}
        return row | _central(spread)


def _central(values: dict[str, Tensor]) -> dict[str, float | None]:
    """The central 95 % of each, None where there is nothing."""
    return {
        f"{name}_{side}": found.quantile(share).item() if len(found) else None
        for name, found in values.items()
        for side, share in zip(("low", "high"), CENTRAL, strict=True)
    }


def are_within(rows: list[dict]) -> bool | None:
    """Whether the known numbers, which are rounded, are within the central draws."""
    found = [row for row in rows if row["target"] == 0 and row["rate"] in KNOWN]
    if not found:
        return None
    peaks, ends = zip(*(KNOWN[row["rate"]] for row in found), strict=True)
    return all(
        row[f"{name}_low"] - rounding <= value <= row[f"{name}_high"] + rounding
        for name, values, rounding in (("peak", peaks, 0.5), ("end", ends, 0.005))
        for row, value in zip(found, values, strict=True)
    )
