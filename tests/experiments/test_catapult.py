"""The experiment catapult: its boundaries against the kernel, its claims, and what a kill leaves."""

import math
import signal
from types import SimpleNamespace

import pytest
import torch

import lazytorch as lt
from lazytorch import data
from lazytorch.experiments.catapult import Catapult, _boundaries_summary
from lazytorch.experiments.catapult_toy import KNOWN, are_within
from lazytorch.runs import RunDirectory

TOY = ["units=64", "toy_rates=[2.5]", "targets=[1]", "toy_steps=40", "draws=10"]
SMALL = ["experiment=catapult", "data.train_size=20", "data.test_size=10", "model.width=16", *TOY]
SMALL += ["rates=[3]", "steps=20", "trial_steps=40", "bracket=[1.5,60]"]


def test_the_edge_is_that_of_the_kernel_and_the_catapult_is_beyond_it(lazytorch):
    code, out, err = lazytorch(*SMALL, "alphas=[100,inf]", "halvings=6", "seed=2")
    assert code == 0, err
    run = RunDirectory(out[-1])
    images, _ = data.load("digits", train_size=20, test_size=10, seed=2)
    mean, std = data.channel_statistics(images.images)
    x = (images.images.double() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.manual_seed(2)
    kernel = lt.empirical_ntk(lt.models.mlp(width=16, channels=1, size=8).double(), x)
    top = torch.linalg.eigvalsh(kernel.transpose(1, 2).reshape(200, 200))[-1].item()
    assert run.summary["lambda_0"] == pytest.approx(2 * top / 200, rel=1e-6)
    finite, infinite = run.table("boundaries")
    assert all(
        infinite[name] == pytest.approx(2, rel=0.07)
        for name in ("never_rises", "ends_below_its_start", "comes_down_again")
    ), infinite
    assert finite["comes_down_again"] > 6 > finite["ends_below_its_start"] >= finite["never_rises"]
    trials = run.table("trials")
    assert all(row["start"] == pytest.approx(0.1) for row in trials)
    lazy = {row["peak"] == row["start"] for row in trials if row["alpha"] == math.inf and row["rate"] < 2}
    above = {row["peak"] == row["start"] for row in trials if row["alpha"] == math.inf and row["rate"] > 2.2}
    assert lazy == {True} and above == {False}
    (phase,) = run.table("generalisation")
    assert phase["phase"] == "catapult" and phase["lowest_eta_lambda"] < 2 < 3


@pytest.mark.parametrize(
    ("index", "summary"),
    list(
        enumerate(
            (
                {"toy_error": 2e-9},
                {"toy_edge_is_4": False},
                {"toy_known": False},
                {"lowest": 2.01},
                {"highest_end": 2.2},
                {"edge_at_inf": 2.03},
                {"gains_fall": False},
                {"lowest_return": 3.9},
                {"delay": 1.2},
                {"laziness_ends_at_the_edge": False},
            )
        )
    ),
)
def test_each_claim_can_fail(index, summary):
    assert Catapult.report.claims[index].check(summary) is False


def test_what_is_found_can_be_wrong():
    rows = [
        {"alpha": alpha, "never_rises": 2.1, "ends_below_its_start": 5 / alpha**0.1, "comes_down_again": 12.0}
        for alpha in (1.0, 1e4)
    ]
    rows.append({"alpha": math.inf, "never_rises": 2.0, "ends_below_its_start": 1.99, "comes_down_again": 2.005})
    assert _boundaries_summary(rows) == {"edge_at_inf": 1.99, "gains_fall": True, "lowest_return": 12.0}
    rows[1]["ends_below_its_start"] = 5.1
    assert _boundaries_summary(rows)["gains_fall"] is False
    lows_and_highs = {"peak_low": 40.0, "peak_high": 60.0, "end_low": 0.02, "end_high": 1.3}
    known = [{"target": 0.0, "rate": rate} | lows_and_highs for rate in KNOWN if rate > 3]
    assert are_within(known) is True
    known[0]["peak_high"] = 43.0
    assert are_within(known) is False


def test_the_contrast_is_that_of_slopes():
    def rows(slope, base):
        both = {1.0: lambda alpha: 1 / alpha, 3.0: lambda alpha: alpha**slope}
        return [
            {"alpha": a, "rate": rate, "displacement": moved(a), "peak_step": math.log(a) / math.log(base) + 3}
            for a in (10.0, 100.0, 1e3)
            for rate, moved in both.items()
        ]

    found = Catapult()._contrast_summary(rows(0.0, 2.0))
    assert found["laziness_ends_at_the_edge"] and found["delay"] == pytest.approx(1)
    assert not Catapult()._contrast_summary(rows(-0.1, 2.0))["laziness_ends_at_the_edge"]
    assert Catapult()._contrast_summary(rows(0.0, 3.0))["delay"] == pytest.approx(math.log(2) / math.log(3))


def test_what_cannot_be_is_refused(lazytorch):
    for override, message in (
        ("bracket=[3,40]", "bracket and contrast are a rate below 2 and one above"),
        ("contrast=[1,1.5]", "bracket and contrast are a rate below 2 and one above"),
        ("alphas=[0]", "alpha"),
        ("data.augment=flip", "Catapult has no augmentation"),
    ):
        code, out, err = lazytorch(*SMALL, override)
        assert code == 1 and out == [] and message in err, err


def test_the_bisection_finds_a_known_boundary_or_says_what_to_do():
    run = SimpleNamespace(part=lambda table, compute, **keys: [compute()])
    network = SimpleNamespace(trial=lambda alpha, rate, steps: {"good": rate < 7.3})
    found = Catapult(halvings=9)._boundary(run, network, 1.0, lambda trial: trial["good"])
    assert found == pytest.approx(7.3, rel=math.log(40) / 2**10)
    with pytest.raises(ValueError, match=r"bracket=\[1, 7\] has no boundary at alpha=1: begin with a rate that trains"):
        Catapult(bracket=(1, 7))._boundary(run, network, 1.0, lambda trial: trial["good"])
    with pytest.raises(ValueError, match="and end with one that diverges"):
        Catapult(bracket=(8, 40))._boundary(run, network, 1.0, lambda trial: trial["good"])


def test_killed_in_the_middle_it_goes_on_to_the_same_tables(start, folder):
    few = [*SMALL, "alphas=[inf]", "halvings=1", "trial_steps=5", "steps=3"]
    assert start(*few, "runs_dir=killed", kill_at_write=(".csv", 6)).wait()[0] == -signal.SIGKILL
    (path,) = (folder / "killed" / "catapult").iterdir()
    killed = RunDirectory(path)
    before = killed.table("trials") + killed.table("scales")
    assert killed.summary is None and before and not killed.table("boundaries")
    assert start(*few, "runs_dir=killed").wait()[0] == 0
    assert start(*few, "runs_dir=whole").wait()[0] == 0
    (path,) = (folder / "whole" / "catapult").iterdir()
    whole = RunDirectory(path)
    for table in ("toy", "toy_ends", "phases", "generalisation", "trials", "boundaries", "scales"):
        assert killed.table(table) == whole.table(table) != []
