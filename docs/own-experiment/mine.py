"""The tangent kernel of a fully connected net on the digits moves less the wider the net is."""

from dataclasses import dataclass

import lazytorch as lt
from lazytorch import data
from lazytorch.experiments import Experiment, key
from lazytorch.reports import Claim, Figure, Panel, Report, Table


@dataclass(frozen=True)
class Widths(Experiment):
    """Drift of the kernel in one epoch at a learning rate of 10 / width, so that outputs move alike."""

    widths: tuple[int, ...] = key((16, 64, 256, 1024), "units of the hidden layer", at_least=1)

    report = Report(
        Figure("drift", Panel("drift", x="width", y="ntk_drift", guides=(-1,))),
        Table("drift"),
        Claim("the kernel moves less the wider the net is", lambda summary: summary["falls"]),
    )

    def run(self, run):
        sets = [(s.images.flatten(1) / 255.0, s.labels) for s in data.load("digits", train_size=200, test_size=50)]
        for width in run.progress(self.widths):
            run.part("drift", lambda w=width: self.drift(w, *sets), width=width)
        drifts = [row["ntk_drift"] for row in run.table("drift")]
        return {"falls": drifts == sorted(drifts, reverse=True)}

    def drift(self, width, train, test):
        net = lt.models.mlp(width, depth=1, channels=64, size=1)
        trainer = lt.Trainer(lt.CenteredModel(net, 1.0), train, test, lr=10 / width, probes=["ntk"], seed=self.seed)
        return {"ntk_drift": trainer.fit(1)["ntk_drift"]}
