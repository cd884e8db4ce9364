"""perform: what is done stays, what fails says so, what was interrupted goes on, and claims are judged."""

import json
import math
import weakref
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from lazytorch.experiments import Data, Experiment, Training, perform, perform_together
from lazytorch.experiments.training import Optimizer
from lazytorch.quantities import Quantity
from lazytorch.reports import Claim, Report, Table
from lazytorch.runs import RunDirectory


@dataclass(frozen=True)
class Squares(Experiment):
    """The squares of some numbers."""

    numbers: tuple[int, ...] = (1, 2, 3)
    fails_at: int = 0

    report: ClassVar[Report] = Report(
        Table("squares"),
        Claim("squares are positive", lambda summary: np.bool_(summary["largest"] > 0), source="Euclid"),
        Claim("squares are even", lambda summary: summary["largest"] % 2 == 0),
        Claim("of no interest", lambda summary: None),
        Claim("broken", lambda summary: summary["missing"] > 0),
        Claim("infinity is null, as in the file", lambda summary: summary["limit"] is None),
        Claim("only stated"),
    )
    computed: ClassVar[list[int]] = []

    def run(self, run):
        for number in run.progress(self.numbers):
            run.part("squares", lambda number=number: self.square(number), number=number)
        run.quantities["largest"] = Quantity("largest", "the largest square", tag="squares/largest")
        return {"largest": max(row["square"] for row in run.table("squares")), "limit": math.inf, "by": {"two": 4}}

    def square(self, number):
        if number == self.fails_at:
            raise ArithmeticError("too\nlarge")
        self.computed.append(number)
        return {"square": number**2}


@pytest.fixture
def squares(tmp_path):
    Squares.computed.clear()
    return Squares(runs_dir=str(tmp_path), name="squares")


def files(run):
    return {path: path.read_bytes() for path in run.path.rglob("*.*") if path.is_file()}


def test_claims_are_in_the_summary_and_a_broken_one_does_not_lose_the_run(squares, caplog):
    run = perform(squares)
    summary = json.loads((run.path / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["largest"] == 9 and summary["limit"] is None
    held = {claim["text"]: claim["held"] for claim in summary["claims"]}
    assert held == {
        "squares are positive": True,
        "squares are even": False,
        "of no interest": None,
        "broken": None,
        "infinity is null, as in the file": True,
    }
    assert summary["claims"][0]["source"] == "Euclid"
    assert summary["claims"][3]["error"] == "KeyError: 'missing'"
    assert "the claim 'broken' could not be checked: KeyError: 'missing'" in caplog.text


def test_tables_go_on_part_by_part(squares):
    with pytest.raises(ArithmeticError):
        perform(replace(squares, fails_at=3))
    failing = Squares.computed[:]
    assert failing == [1, 2]
    perform(squares)
    assert Squares.computed == [1, 2, 1, 2, 3]  # of another run: fails_at is a field
    Squares.computed.clear()
    run = perform(squares)
    assert Squares.computed == []
    (run.path / "summary.json").unlink()
    run.write_table("squares", run.table("squares")[:1])
    assert [row["square"] for row in perform(squares).table("squares")] == [1, 4, 9]
    assert Squares.computed == [2, 3]
    perform(replace(squares, resume=False))
    assert Squares.computed == [2, 3, 1, 2, 3]


def test_a_failure_is_in_the_summary_in_one_line(squares):
    (outcome,) = perform_together([replace(squares, fails_at=2)])
    assert isinstance(outcome.error, ArithmeticError) and outcome.summary is None
    assert outcome.directory.summary == {"status": "failed", "error": "ArithmeticError: too large"}
    assert [row["number"] for row in outcome.directory.table("squares")] == [1]


@dataclass(frozen=True)
class Odd(Squares):
    returns: int = 0

    def run(self, run):
        return ({"a": object()}, {"status": "odd"}, {"error": 3}, [])[self.returns]


@pytest.mark.parametrize("returns", range(4))
def test_a_summary_that_cannot_be_written_is_a_failure(tmp_path, returns):
    (outcome,) = perform_together([Odd(returns=returns, runs_dir=str(tmp_path))])
    assert outcome.error is not None and outcome.directory.summary["status"] == "failed"


def test_what_is_done_is_left_as_it_is(squares):
    run = perform(squares)
    before = files(run)
    (outcome,) = perform_together([replace(squares, device="cpu")])
    assert outcome.was_done and outcome.summary == run.summary and files(run) == before


def test_a_report_that_says_more_reaches_runs_that_are_done(squares, monkeypatch):
    run = perform(squares)
    changed = Report(Table("squares"), Claim("squares are large", lambda summary: summary["largest"] > 100))
    monkeypatch.setattr(Squares, "report", changed)
    Squares.computed.clear()
    perform(squares)
    assert Squares.computed == []
    assert [claim["text"] for claim in run.summary["claims"]] == ["squares are large"]
    assert run.summary["claims"][0]["held"] is False
    assert [item["kind"] for item in run.report["items"]] == ["Table", "Claim"]


def test_one_run_asked_for_twice_is_run_once(squares):
    outcomes = perform_together([squares, squares])
    assert outcomes[0] is outcomes[1] and Squares.computed == [1, 2, 3]


def test_only_one_company_is_run_together(squares):
    with pytest.raises(ValueError, match="split them"):
        perform_together([squares, replace(squares, numbers=(4,))])


@dataclass(frozen=True)
class Stopped(Squares):
    def square(self, number):
        if number == 2:
            raise KeyboardInterrupt(15)
        return super().square(number)


def test_an_interruption_is_in_the_summary_and_is_handed_on(tmp_path):
    with pytest.raises(KeyboardInterrupt) as stop:
        perform(Stopped(runs_dir=str(tmp_path)))
    assert stop.value.args == (15,)
    (run,) = [RunDirectory(path) for path in (tmp_path / "stopped").iterdir()]
    assert run.summary == {"status": "interrupted"} and [row["number"] for row in run.table("squares")] == [1]


STOP = """
import os, signal

def stop(model):
    if model.alpha == 2 and model.theta_norm() > 0:
        os.kill(os.getpid(), signal.SIGINT)
    return {"one": 1}
"""


def test_members_that_had_ended_are_not_interrupted(folder):
    """At alpha = 1 training diverges; once the other member has been trained for an epoch all are asked to stop."""
    (folder / "mine.py").write_text(STOP)
    mlp, data = {"_target_": "lazytorch.models.mlp", "width": 8}, Data(train_size=20, test_size=10)
    member = Training(model=mlp, data=data, epochs=2, probes=("mine.stop",))
    with pytest.raises(KeyboardInterrupt):
        perform_together([replace(member, optimizer=Optimizer(lr=1e20)), replace(member, alpha=2.0)])
    runs = [RunDirectory(path) for path in (folder / "runs" / "training").iterdir()]
    assert {run.config["alpha"]: run.summary["status"] for run in runs} == {1: "diverged", 2: "interrupted"}


def test_the_directory_says_what_the_experiment_is(squares):
    run = perform(replace(squares, seed=3, numbers=(4,)))
    assert run.path.name.startswith("seed=3,numbers=4-")
    assert run.config["changed"] == {"seed": 3, "numbers": [4]} and run.config["numbers"] == [4]
    assert run.report["name"] == "Squares" and run.report["text"] == "The squares of some numbers."
    assert run.tensorboard.is_dir()


def test_a_folder_that_is_none_is_refused(squares):
    for name in ("../x", "a/b", "..", "."):
        with pytest.raises(ValueError, match="not the name of a folder"):
            perform(replace(squares, name=name))


def test_a_model_that_cannot_be_prepared_leaves_room_for_the_others(tmp_path, monkeypatch):
    from lazytorch.training import trainer

    own, models, alive = trainer.make_optimizer, [], []

    def make_optimizer(model, settings):
        if model.alpha == 10:
            models.append(weakref.ref(model))
            raise MemoryError
        return own(model, settings)

    run_together = Training.run_together

    def watched(members):
        alive.append(models[0]() is not None)
        return run_together(members)

    monkeypatch.setattr(trainer, "make_optimizer", make_optimizer)
    monkeypatch.setattr(Training, "run_together", watched)
    net = {"_target_": "lazytorch.models.mlp", "width": 8}
    training = Training(model=net, data=Data(train_size=20, test_size=10), epochs=1, probes=(), runs_dir=str(tmp_path))
    outcomes = perform_together([replace(training, alpha=alpha) for alpha in (1.0, 10.0, 100.0)])
    assert alive == [False] and isinstance(outcomes[1].error, MemoryError)
    assert all(outcome.summary["status"] == "finished" for outcome in (outcomes[0], outcomes[2]))
