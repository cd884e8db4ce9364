"""The experiment linear_network: what its claims hold of, what breaks them, and that it goes on after a kill."""

import signal
from pathlib import Path

import pytest

from lazytorch.experiments.linear_network import LinearNetwork
from lazytorch.runs import RunDirectory
from lazytorch.theory.linear_networks import BalancedLinearNetwork

SMALL = ["experiment=linear_network", "draws=3", "flows=[0.05,5]", "magnitudes=[0.5,50]", "inputs=[3,6]"]
SMALL += ["hidden=3", "outputs=3"]
HELD = {
    "drift_of_lambda": 1e-12,
    "closed_form_error": 1e-11,
    "lazy_distance": {"a": {"0.5": 0.1, "5": 0.01, "50": 1e-5}},
    "rich_distance": {"b": {"0.5": 0.3, "5": 0.4, "50": 0.5}},
    "expansion_error": 0.02,
}
BROKEN = [
    {"drift_of_lambda": 1e-9},
    {"closed_form_error": 1e-8},
    {"lazy_distance": {"a": {"0.5": 0.1, "5": 0.2, "50": 1e-5}}},
    {"lazy_distance": {"a": {"0.5": 0.1, "5": 0.01, "50": 2e-4}}},
    {"rich_distance": {"b": {"0.5": 0.3, "5": 0.6, "50": 0.5}}},
    {"expansion_error": 0.06},
]


def held(run):
    return [claim["held"] for claim in run.summary["claims"]]


def test_its_claims_hold(lazytorch):
    code, out, err = lazytorch(*SMALL)
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert held(run) == [True] * 6
    assert len(run.table("distances")) == 3 * 2 * 2 * 2 and len(run.table("modes")) == 3 * 60
    assert {row["network"]: row["lazy"] for row in run.table("distances")} == {
        "3 inputs, either sign": True,
        "6 inputs, lambda < 0": False,
        "6 inputs, lambda > 0": True,
    }


def test_the_form_in_print_is_caught(lazytorch, monkeypatch):
    monkeypatch.setattr(BalancedLinearNetwork, "gram", BalancedLinearNetwork.gram_in_print)
    code, out, err = lazytorch(*SMALL, "inputs=[3]")
    assert code == 0, err
    assert held(RunDirectory(out[-1]))[:2] == [True, False]


def test_every_claim_can_fail_or_have_nothing_to_say():
    claims = LinearNetwork.report.claims
    assert all(claim.check(HELD) for claim in claims)
    for claim, changed in zip(claims, BROKEN, strict=True):
        assert claim.check(HELD | changed) is False, claim.text
    nothing = HELD | {"lazy_distance": {}, "rich_distance": {}, "expansion_error": None}
    assert [claim.check(nothing) for claim in claims] == [True, True, None, None, None, None]


def test_killed_it_goes_on_to_the_same_numbers(start):
    assert start(*SMALL, "runs_dir=killed", kill_at_write=(".csv", 7)).wait()[0] == -signal.SIGKILL
    (killed,) = map(RunDirectory, Path("killed/linear_network").iterdir())
    first = killed.table("distances")
    assert killed.summary is None and len(first) == 3
    for runs in ("killed", "whole"):
        code, _, err = start(*SMALL, f"runs_dir={runs}").wait()
        assert code == 0, err
    (whole,) = map(RunDirectory, Path("whole/linear_network").iterdir())
    for table in ("flow", "forms", "modes", "distances", "kernels"):
        assert killed.table(table) == whole.table(table), table
    assert killed.table("distances")[:3] == first
    untimed = [{k: v for k, v in run.summary.items() if k != "seconds"} for run in (killed, whole)]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["flows=[]"], "flows=[] has none to integrate"),
        (["magnitudes=[5,0.5]"], "magnitudes are |lambda| in rising order"),
        (["inputs=[3,2]"], "take no more hidden units"),
        (["horizon=1e4"], "for later times use limit()"),
    ],
)
def test_what_cannot_be_is_refused(lazytorch, keys, words):
    code, out, err = lazytorch(*SMALL, *keys)
    assert code == 1 and out == [] and len(err.splitlines()) == 1 and words in err, err
