"""The user's own experiment of docs/own-experiment, outside the package, from the command line."""

import shutil
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lazytorch.reports.cli import main as report
from lazytorch.runs import RunDirectory

DOCS = Path(__file__).parents[2] / "docs" / "own-experiment"
MINE = ("--config-dir", ".", "experiment=mine")


@pytest.fixture
def mine(folder):
    shutil.copytree(DOCS, folder, dirs_exist_ok=True)
    return folder


def runs(folder):
    return [RunDirectory(path) for path in sorted(Path(folder).iterdir())]


def test_it_is_short():
    files = [DOCS / "mine.py", DOCS / "experiment" / "mine.yaml"]
    assert sum(len(file.read_text().splitlines()) for file in files) < 40
    assert sorted(path for path in DOCS.rglob("*") if path.is_file() and path.suffix != ".pyc") == sorted(files)


def test_it_runs_is_skipped_and_has_its_report(lazytorch, mine):
    code, out, err = lazytorch(*MINE)
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert run.path.parent == Path("runs/mine") and run.config["_target_"] == "mine.Widths"
    rows = run.table("widths")
    assert [row["width"] for row in rows] == [16, 64, 256, 1024]
    assert all(left["ntk_drift"] > right["ntk_drift"] for left, right in pairwise(rows))
    claim = {"text": "wider networks are lazier", "held": True, "source": "Jacot et al. 2018"}
    assert run.summary["claims"] == [claim] and -1 < run.summary["slope"] < -0.25
    line = err.splitlines()[-1]
    assert f"slope {run.summary['slope']:.4g}" in line and "held: wider networks are lazier" in line
    events = EventAccumulator(str(run.tensorboard)).Reload()
    (slope,) = events.Scalars("probes/slope")
    assert slope.value == pytest.approx(run.summary["slope"])
    before = {path: path.read_bytes() for path in run.path.rglob("*.*") if path.is_file()}
    code, again, err = lazytorch(*MINE)
    assert code == 0 and again == out and "is done (finished); slope" in err
    assert {path: path.read_bytes() for path in before} == before
    assert report(["runs", "-o", "report"]) == 0
    assert {"widths.png", "widths.pdf", "report.html", "report.md"} <= {path.name for path in Path("report").iterdir()}
    page = Path("report/report.md").read_text()
    assert "wider networks are lazier" in page and "How far training at alpha = 1 moves the tangent kernel" in page
    assert {path.name for path in mine.iterdir()} == {"mine.py", "experiment", "runs", "report"}


def test_killed_in_the_middle_it_goes_on_to_the_same_table(start, mine):
    small = (*MINE, "widths=[4,8]", "epochs=1", "data.train_size=20", "data.test_size=10")
    assert start(*small, "runs_dir=killed", kill_at_write=(".csv", 2)).wait()[0] == -signal.SIGKILL
    (killed,) = runs("killed/mine")
    assert killed.summary is None and [row["width"] for row in killed.table("widths")] == [4]
    first = killed.table("widths")
    code, _, err = start(*small, "runs_dir=killed").wait()
    assert code == 0, err
    start(*small, "runs_dir=whole").wait()
    (whole,) = runs("whole/mine")
    assert killed.table("widths") == whole.table("widths") and killed.table("widths")[:1] == first
    assert killed.summary["slope"] == whole.summary["slope"]


def test_it_sweeps_and_its_keys_are_checked(lazytorch, mine):
    small = (*MINE, "data.train_size=20", "data.test_size=10", "epochs=1")
    code, out, err = lazytorch("-m", *small, "widths=[4,8],[4,16]")
    assert code == 0 and out == ["runs/mine"] and len(runs(*out)) == 2
    assert err.splitlines()[-3].split() == ["run", "status", "slope", "seconds"]
    for arguments, message in (
        (["alpha=3"], "Widths reads no key alpha: remove it"),
        (["epoch=3"], "Widths reads no key epoch: remove it, or use epochs"),
        (["epochs=0"], "epochs must be at least 1"),
        (["widths=[8,0]"], "widths must be at least 1"),
        (["widths=8"], "widths"),
    ):
        code, out, err = lazytorch(*MINE, *arguments)
        assert code == 1 and out == [] and len(err.splitlines()) == 1 and message in err
    code, out, _ = lazytorch(*MINE, "--help")
    assert code == 0 and any(line.startswith("epochs=5") and line.endswith("# of training") for line in out)


PLAIN = """
from dataclasses import dataclass
from lazytorch.experiments import Experiment, key
from lazytorch.reports import Claim, Report


@dataclass(frozen=True)
class Dice(Experiment):
    throws: int = key(3, "how often", at_least=1)
    faces: int = key(6, "of the die", at_least=2)
    report = Report(Claim("no throw is above the faces", lambda summary: summary["largest"] <= 6))

    def run(self, run):
        for throw in range(self.throws):
            run.part("throws", lambda throw=throw: {"face": (self.seed + throw) % self.faces + 1}, throw=throw)
        return {"largest": max(row["face"] for row in run.table("throws"))}
"""
PLAIN_FILE = """
# @package _global_
defaults: [override /model: null, override /data: null]
_target_: dice.Dice
throws: 3
"""


def test_an_experiment_without_network_and_images(lazytorch, folder):
    (folder / "dice.py").write_text(PLAIN)
    (folder / "experiment").mkdir()
    (folder / "experiment" / "dice.yaml").write_text(PLAIN_FILE)
    dice = ("--config-dir", ".", "experiment=dice")
    code, out, err = lazytorch(*dice, "throws=5")
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert run.path.name.startswith("seed=0,throws=5-") and run.path.parent == Path("runs/dice")
    assert [row["face"] for row in run.table("throws")] == [1, 2, 3, 4, 5]
    assert run.summary["claims"][0]["held"] is True and run.config["about"] == {} == run.config["fingerprints"]
    for arguments, message in (
        (["epochs=7"], "Dice reads no key epochs: remove it"),
        (["data.root=x"], "Dice reads no key data.root: remove it"),
        (["faces=4"], "faces is not in the file of experiment=dice: add it there, or write +faces=..."),
    ):
        code, out, err = lazytorch(*dice, *arguments)
        assert code == 1 and out == [] and message in err, err
    assert lazytorch(*dice, "+faces=4")[0] == 0
