"""The edge of stability of the linearized model: full-batch gradient descent diverges at 2 / lambda_max exactly."""

from dataclasses import dataclass
from typing import ClassVar

from ..centered import CenteredModel
from ..kernels import kernel_operator, top_eigenpairs
from ..reports import Claim, Figure, Panel, Report, Table
from ..training import Trainer
from ..training.precision import PRECISIONS
from .fields import key
from .problem import NetworkExperiment
from .run import Run


@dataclass(frozen=True)
class StableStep(NetworkExperiment):
    """At alpha = inf the residual obeys r' = (I - (2 eta / nK) Theta) r: it decays if eta < nK / lambda_max(Theta).

    Trains at several shares of that step, in the configured precision, and compares the loss after ``steps`` with the
    loss at the start. A model that is not lazy can train above the edge (the catapult), a lazy one cannot. Cost: the
    top eigenvalue by Lanczos, and ``steps`` full batches a share.
    """

    precision: str = key("float64", "float32, tf32, bf16 (autocast), float64", one_of=PRECISIONS)
    steps: int = key(200, "of full-batch gradient descent, without momentum", at_least=1)
    shares: tuple[float, ...] = key((0.5, 0.9, 0.98, 1.02, 1.1, 1.5), "the steps, as shares of the edge", above=0)

    report: ClassVar[Report] = Report(
        Figure("edge", Panel("losses", x="share", y="growth", yscale="log"), caption="Loss at the end over the start."),
        Table("losses"),
        Claim(
            "every step below 2 / lambda_max ends below the loss at the start, every one above it beyond it",
            lambda summary: summary["sharp"],
            source="gradient descent on a quadratic; Lewkowycz et al. 2020, where a catapult crosses the edge",
        ),
    )
    smoke = ("data.train_size=20", "data.test_size=10", "model.width=16", "steps=50", "shares=[0.5,1.5]")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that full-batch training has no use for."""
        super().check()
        self.check_whole_sets()

    def run(self, run: Run) -> dict:
        """losses.csv: loss at the start and after the last step, by share."""
        train, _ = run.problem.data(self.precision)
        x, _ = train.head(len(train))
        top = top_eigenpairs(kernel_operator(run.problem.net, x), 1)[0].max().item()
        edge = len(train) * len(run.problem.train.classes) / top
        for share in run.progress(self.shares, "steps"):
            run.part("losses", lambda share=share: self._losses(run, share * edge), share=share)
        rows = run.table("losses")
        return {"edge": edge, "sharp": all((row["share"] < 1) == (row["growth"] < 1) for row in rows)}

    def _losses(self, run: Run, lr: float) -> dict:
        train, test = run.problem.data(self.precision)
        model = CenteredModel(run.problem.network(), float("inf"))
        options = {"batch_size": len(train), "seed": self.seed, "precision": self.precision, "probes": ()}
        trainer = Trainer(model, train, test, lr=lr, momentum=0, beta=0, evaluate_every=self.steps, **options)
        start = 1 / len(run.problem.train.classes)  # all outputs are 0
        end = trainer.fit(self.steps)["train_loss"]
        return {"lr": lr, "start": start, "end": end, "growth": end / start}
