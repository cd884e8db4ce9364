"""The network of the catapult: trained by full-batch gradient descent at rates in units of 1 / lambda_0."""

import math
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..centered import CenteredModel
from ..kernels import kernel_operator, top_eigenpairs
from ..theory.descent import descend
from .problem import Problem

TALL = 1e4  # growth of the loss at alpha = 1 beyond which it diverges: catapults grow a hundredfold
LOST = 100.0  # |w - w_0| / |w_0| from which on training has diverged, though its units may have died of it


class Network:
    """The network at w_0 in float64, its images, and lambda_0."""

    def __init__(self, problem: Problem):
        train, test = problem.data("float64")
        self.x, labels = train.head(len(train))
        self.test_x, self.test_labels = test.head(len(test))
        self.net = problem.network().double()
        self.y = F.one_hot(labels, self.net(self.x[:1]).shape[-1]).to(self.x)
        self.top = self.top_eigenvalue(self.net)

    def top_eigenvalue(self, net: nn.Module) -> float:
        """Of 2 Theta / (n K)."""
        return 2 * top_eigenpairs(kernel_operator(net, self.x), 1)[0][0].item() / self.y.numel()

    def losses(self, model: CenteredModel, rate: float, steps: int) -> Iterator[float]:
        """Trains ``model``, see :func:`descend`."""
        return descend(model.parameters(), lambda: F.mse_loss(model(self.x), self.y), rate / self.top, steps)

    def trial(self, alpha: float, rate: float, steps: int) -> dict:
        """What became of the loss, infinite where training diverged; at finite alpha when it peaked, and |w - w_0|."""
        model = CenteredModel(self.net, alpha)
        losses = list(self.losses(model, rate, steps))
        moved = model.displacement()
        if len(losses) <= steps or moved > LOST:
            return {"start": losses[0], "peak": math.inf, "end": math.inf}
        peak = max(losses)
        seen = {"peak_step": losses.index(peak), "displacement": moved} if alpha < math.inf else {}
        return {"start": losses[0], "peak": peak, "end": losses[-1]} | seen

    @torch.no_grad()
    def accuracy(self, model: CenteredModel) -> float:
        """On the test images."""
        return (model(self.test_x).argmax(-1) == self.test_labels).double().mean().item()

    def phases(self, rate: float, steps: int) -> list[dict]:
        """Loss, its peak so far, eta lambda and test accuracy at steps that grow, as long as the loss is not TALL."""
        model, rows, peak, start = CenteredModel(self.net, 1.0), [], 0.0, self.y.square().mean().item()
        looked_at = {*range(5), *np.geomspace(5, max(5, steps), 15).round().astype(int).tolist(), steps}
        for step, loss in enumerate(self.losses(model, rate, steps)):
            peak = max(peak, loss)
            if peak > TALL * start:
                break
            if step in looked_at:
                eta_lambda = rate * self.top_eigenvalue(model) / self.top
                values = {"step": step, "loss": loss, "peak": peak, "eta_lambda": eta_lambda}
                rows.append(values | {"test_accuracy": self.accuracy(model)})
        return rows


def phase(rows: list[dict], steps: int) -> dict:
    """What the phase of a rate is, and what came of it."""
    start, end = rows[0], rows[-1]
    if end["step"] < steps:
        return {"phase": "diverges", "peak": math.inf}
    return {
        "phase": "catapult" if end["peak"] > start["loss"] else "lazy",
        "peak": end["peak"],
        "loss": end["loss"],
        "lowest_eta_lambda": min(row["eta_lambda"] for row in rows),
        "eta_lambda": end["eta_lambda"],
        "test_accuracy": end["test_accuracy"],
        "best_test_accuracy": max(row["test_accuracy"] for row in rows),
    }
