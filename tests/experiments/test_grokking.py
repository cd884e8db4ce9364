"""The experiment grokking: its steps against a network trained without it, and what breaks its claims."""

import copy

import pytest
import torch

from lazytorch.experiments.grokking import Grokking
from lazytorch.runs import RunDirectory
from lazytorch.theory.grokking import MomentDescent, QuadraticNetwork

SMALL = ["experiment=grokking", "dimension=8", "samples=30", "width=20", "steps=600", "checked=20", "alphas=[0.5,inf]"]
HELD = {
    "network_error": 1e-15,
    "regression": 0.53,
    "train_step": {"0.25": 100, "4": 900, "inf": 2600},
    "test_step": {"0.25": 470, "4": None, "inf": None},
    "lag": {"0.25": 370, "4": None, "inf": None},
    "delay": {"0.25": 4.7, "4": None, "inf": None},
    "final_test_loss": {"0.25": 0.01, "4": 0.2, "inf": 0.54},
    "alignment_gain": {"0.25": 0.2, "4": 0.01, "inf": 0.0},
}
BROKEN = [  # by claim: summaries of which it does not hold
    [{"network_error": 1e-6}],
    [{"train_step": {"0.25": 480, "4": 900, "inf": 2600}}, {"train_step": {"0.25": 100, "4": None, "inf": None}}],
    [{"lag": {"0.25": 370, "4": 300, "inf": None}}, {"delay": {"0.25": 4.7, "4": 4.6, "inf": None}}],
    [
        {"final_test_loss": {"0.25": 0.01, "4": 0.6, "inf": 0.61}},
        {"final_test_loss": {"0.25": 0.3, "4": 0.2, "inf": 1}},
    ],
    [{"alignment_gain": {"0.25": 0.2, "4": -0.01, "inf": -0.1}}, {"alignment_gain": {"0.25": 0.1, "4": 0.2, "inf": 0}}],
]


def test_its_steps_are_those_of_a_trained_network(lazytorch):
    code, out, err = lazytorch(*SMALL, "seed=4")
    assert code == 0, err
    run = RunDirectory(out[-1])
    generator = torch.Generator().manual_seed(4)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weights, beta, x = draw(20, 8), draw(8), draw(30, 8) / 8**0.5
    y = (x @ beta).square() / 2
    start, net = (QuadraticNetwork(weights.clone(), 0.25) for _ in range(2))
    optimizer, losses = torch.optim.SGD(net.parameters(), lr=0.5 * 20 / 0.5**2), []
    for _ in range(601):
        loss = (0.5 * (net(x) - start(x).detach()) - y).square().mean()
        losses.append((loss / y.square().mean()).item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    curve = [row for row in run.table("curves") if row["alpha"] == 0.5]
    assert [row["train_loss"] for row in curve] == pytest.approx([losses[row["step"]] for row in curve], rel=1e-9)
    assert curve[-1]["step"] == 600
    assert run.summary["train_step"]["0.5"] == next(step for step, loss in enumerate(losses) if loss < 0.1)
    assert run.summary["network_error"] < 1e-12 and run.summary["claims"][0]["held"]
    shown = [row for row in run.table("curves") if row["network_test_loss"] is not None]
    assert len(shown) > 10 and max(row["step"] for row in shown) == 20
    for name in ("train_loss", "test_loss"):
        assert [row[f"network_{name}"] for row in shown] == pytest.approx([row[name] for row in shown], rel=1e-9)


def test_a_wrong_reduction_is_caught(lazytorch, monkeypatch):
    step = MomentDescent.step
    monkeypatch.setattr(MomentDescent, "step", lambda self, residual: step(self, residual / 2))
    code, out, err = lazytorch(*SMALL, "alphas=[0.5]", "steps=20")
    assert code == 0, err
    assert not RunDirectory(out[-1]).summary["claims"][0]["held"]


def test_every_claim_can_fail():
    claims = Grokking.report.claims
    assert len(claims) == len(BROKEN) and all(claim.check(HELD) for claim in claims)
    for claim, summaries in zip(claims, BROKEN, strict=True):
        for changed in summaries:
            assert not claim.check(copy.deepcopy(HELD) | changed), (claim.text, changed)


@pytest.mark.parametrize("alphas", ["[]", "[4,1]", "[1,1]"])
def test_scales_out_of_order_are_refused(lazytorch, alphas):
    code, out, err = lazytorch(*SMALL, f"alphas={alphas}")
    assert code == 1 and out == [] and "in rising order: give one or more, as alphas=[0.25,1,inf]" in err, err
