"""The experiment phase_portrait: a cell against the trainer, its boundary, its claims, and going on after a kill."""

import signal
from pathlib import Path

import pytest
import torch

import lazytorch as lt
from lazytorch.experiments.phase_portrait import PhasePortrait, largest_of_first
from lazytorch.runs import RunDirectory
from lazytorch.training import Trainer

SMALL = ("experiment=phase_portrait", "data.train_size=20", "data.test_size=10")
SMALL_NET = (*SMALL, "model.width=16")
HELD = {
    "lazy_slope": 0.1,
    "lazy_slope_predicted": 0,
    "lazy_over_edge": 1.01,
    "rich_slope": 1.2,
    "rich_slope_predicted": 4 / 3,
    "toy_slope_error": 0.03,
    "toy_error": 0.09,
}


def test_losses_are_those_of_training_in_float64_and_diverging_is_a_result(lazytorch):
    grid = ("alphas=[0.1,1e5]", "steps=40", "lrs_per_decade=1", "smallest_lr=1e-2", "largest_lr=10")
    code, out, err = lazytorch(*SMALL_NET, *grid, "seed=3")
    assert code == 0 and "held: of the deep linear toy" in err, err
    run = RunDirectory(out[-1])
    losses = {(row["alpha"], row["lr"]): row for row in run.table("losses")}
    assert [lr for alpha, lr in losses if alpha == 0.1] == pytest.approx([0.01, 0.1, 1.0, 10.0])
    images, test = lt.data.load("digits", train_size=20, test_size=10, seed=3)
    mean, std = lt.data.channel_statistics(images.images)
    like = {"mean": mean, "std": std, "device": "cpu", "dtype": torch.float64}
    sets = [lt.data.DeviceData(one.images, one.labels, **like) for one in (images, test)]
    torch.manual_seed(3)
    net = lt.models.mlp(width=16, channels=1, size=8).double()
    options = {"lr": 0.1, "momentum": 0, "beta": 0, "batch_size": 20, "evaluate_every": 40, "probes": ()}
    for alpha in (0.1, 1e5):
        model = lt.CenteredModel(net, alpha, "direct")
        end = Trainer(model, *sets, precision="float64", **options).fit(40)["train_loss"]
        assert losses[alpha, 0.1]["train_loss"] == pytest.approx(end, rel=1e-3)
    assert losses[1e5, 10.0]["status"] == "diverged" and not losses[1e5, 10.0]["below_boundary"]
    x, _ = sets[0].head(20)
    kernel = lt.empirical_ntk(net, x).transpose(1, 2).reshape(200, 200)
    assert run.summary["edge"] == pytest.approx(200 / torch.linalg.eigvalsh(kernel)[-1].item(), rel=1e-5)
    assert run.summary["degree"] == 3


@pytest.mark.parametrize(
    "converged, expected",
    [
        ((False, True, True, False, True, False), 3.0),  # a lucky return does not count
        ((True, False, False, False, False, False), 1.0),
        ((False,) * 6, None),
        ((False, False, True, True, True, True), None),  # the boundary is beyond
    ],
)
def test_the_largest_rate_is_that_of_the_first_run(converged, expected):
    assert largest_of_first([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], converged) == expected


@pytest.mark.parametrize(
    "number, wrong, unmet",
    [
        (0, {"lazy_slope": 0.16}, {"lazy_slope": None}),
        (0, {"lazy_slope_predicted": 1}, {"lazy_slope": None}),
        (1, {"lazy_over_edge": 0.99}, {"lazy_over_edge": None}),
        (2, {"rich_slope_predicted": 2 - 2 / 2}, {"rich_slope_predicted": None}),  # L = 2 in place of 3
        (2, {"rich_slope": 2.0}, {"rich_slope": None}),
        (3, {"toy_slope_error": 0.17}, None),  # 2/L for L = 2 in place of 3
        (3, {"toy_error": -0.5}, None),
    ],
)
def test_claims_fail_where_a_constant_is_wrong(number, wrong, unmet):
    check = PhasePortrait.report.claims[number].check
    assert check(HELD) is True and check(HELD | wrong) is False
    assert unmet is None or check(HELD | unmet) is None


def test_a_network_that_is_not_homogeneous_has_no_power_law(lazytorch):
    code, out, err = lazytorch(*SMALL_NET, "model.activation=tanh", "alphas=[1]", "steps=1", "lrs_per_decade=1")
    assert code == 0, err
    assert RunDirectory(out[-1]).summary["degree"] is None


DROPPING = """
from torch import nn

def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(64, 10))
"""


def test_settings_that_cannot_be(lazytorch, folder):
    (folder / "own.py").write_text(DROPPING)
    for arguments, message in (
        (["alphas=[]"], "give one or more alphas"),
        (["smallest_lr=1", "largest_lr=0.1"], "smallest_lr=1 is not below largest_lr=0.1"),
        (["data.augment=flip"], "has no augmentation"),
        (["model=custom", "model._target_=own.net"], "which cannot be trained at several rates side by side"),
    ):
        code, out, err = lazytorch(*SMALL, *arguments)
        assert code == 1 and out == [] and message in err, err


def test_killed_in_the_middle_it_goes_on_to_the_same_tables(start):
    tiny = (*SMALL_NET, "alphas=[0.1,1,10]", "steps=3", "lrs_per_decade=1")
    assert start(*tiny, "runs_dir=killed", kill_at_write=(".csv", 3)).wait()[0] == -signal.SIGKILL
    (killed,) = (RunDirectory(path) for path in Path("killed/phase_portrait").iterdir())
    assert killed.summary is None and {row["alpha"] for row in killed.table("losses")} == {0.1, 1.0}
    assert start(*tiny, "runs_dir=killed").wait()[0] == 0
    assert start(*tiny, "runs_dir=whole").wait()[0] == 0
    (whole,) = (RunDirectory(path) for path in Path("whole/phase_portrait").iterdir())
    for table in ("losses", "boundary", "toy"):
        assert killed.table(table) == whole.table(table)
