from dataclasses import dataclass, replace

import numpy as np

import lazytorch as lt
from lazytorch.experiments import NetworkExperiment, Run, key
from lazytorch.reports import Claim, Figure, Panel, Report, Table


@dataclass(frozen=True)
class Widths(NetworkExperiment):
    """How far training at alpha = 1 moves the tangent kernel, against the width of the network."""

    widths: tuple[int, ...] = key((16, 64, 256, 1024), "units of a hidden layer", at_least=1)
    epochs: int = key(5, "of training", at_least=1)
    report = Report(
        Figure("widths", Panel("widths", x="width", y="ntk_drift", guides=(-0.5,))),
        Table("widths"),
        Claim("wider networks are lazier", lambda summary: summary["slope"] < -0.25, source="Jacot et al. 2018"),
    )

    def run(self, run: Run) -> dict:
        for width in run.progress(self.widths):
            run.part("widths", lambda width=width: self.train(width), width=width)  # skipped where it is there
        logs = [[np.log(row[name]) for row in run.table("widths")] for name in ("width", "ntk_drift")]
        return {"slope": float(np.polyfit(*logs, 1)[0])}

    def train(self, width: int) -> dict:
        problem = replace(self, model=self.model | {"width": width}).problem()
        model, data = lt.CenteredModel(problem.net, alpha=1.0), problem.data("float32")
        summary = lt.Trainer(model, *data, lr=0.01, probes=["ntk"], seed=self.seed).fit(self.epochs)
        return {name: summary[name] for name in ("ntk_drift", "test_accuracy")}
