"""The experiment certificate: verdicts by share, the slopes of the threshold, and what its claims would not pass."""

import signal

import pytest

from lazytorch.experiments.certificate import CertifiedLaziness, _counts, _slack
from lazytorch.runs import RunDirectory, find

SMALL = ["experiment=certificate", "inputs=1", "neurons=8", "trials=2", "shares=[0.5,1.1]", "widths=[16,4096]"]


def test_above_the_threshold_all_is_proved_and_the_threshold_falls_with_the_width(start):
    assert start(*SMALL, "runs_dir=killed", kill_at_write=("instances.csv", 2)).wait()[0] == -signal.SIGKILL
    (killed,) = find(["killed"])
    first = killed.table("instances")
    assert [row["trial"] for row in first] == [0, 0] and killed.summary is None
    code, out, err = start(*SMALL, "runs_dir=killed").wait()
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert run.path == killed.path and run.table("instances")[:2] == first
    verdicts = {(row["share"], row["verdict"]) for row in run.table("instances")}
    assert verdicts == {(0.5, "observed only"), (1.1, "proved and observed")}
    assert all(row["alpha"] == pytest.approx(row["share"] * row["threshold"]) for row in run.table("instances"))
    flow = [row for row in run.table("flow") if row["share"] == 1.1]
    assert len(flow) == 60 and all(row["loss"] <= row["loss_bound"] for row in flow)
    summary = run.summary
    assert (summary["instances_above"], summary["violated_above"], summary["instances_below"]) == (2, 0, 2)
    assert summary["sum_slope"] == pytest.approx(-1, abs=0.2)  # of two narrow trials
    assert summary["normalised_slope"] == pytest.approx(-0.5, abs=0.2)


def row(share, **ratios):
    names = ("largest_singular_value", "smallest_singular_value", "loss", "displacement", "lipschitz")
    ratios = dict.fromkeys((*names, "linear_loss", "linear_displacement"), 2.0) | ratios
    return {"share": share, "violated": sum(ratio < 1 for ratio in ratios.values())} | ratios


def held(summary):
    return [claim.check(summary) for claim in CertifiedLaziness.report.claims]


def test_a_violation_fails_the_claim_that_it_contradicts():
    slopes = {"sum_holds": True, "normalised_holds": False}
    good = [row(0.1), row(1.1)]
    assert held(_counts(good) | slopes) == [True, True, True, False]
    assert held(_counts([*good, row(1.1, loss=0.9)]) | slopes)[:2] == [False, True]
    assert held(_counts([*good, row(0.1, loss=0.9)]) | slopes)[:2] == [True, True]  # no theorem there
    assert held(_counts([*good, row(0.1, linear_loss=0.9)]) | slopes)[:2] == [True, False]
    assert held(_counts([row(1.0)]) | slopes)[0] is None
    assert _counts([row(0.01, loss=0.5), row(1e-3, loss=0.1)])["largest_violated_share"] == 0.01
    assert _slack([row(0.1, loss=3.0), row(0.1, loss=0.5)], 0.1)["loss"] == 0.5


def test_settings_without_a_full_rank_are_refused(lazytorch):
    code, _, err = lazytorch("experiment=certificate", "inputs=50", "neurons=4")
    assert code == 1 and "give fewer inputs or more neurons" in err
    code, _, err = lazytorch("experiment=certificate", "widths=[64]")
    assert code == 1 and "two or more widths" in err
