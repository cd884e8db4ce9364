"""Sweeps from the command line, member by member and side by side: what is run, printed and left."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lazytorch.cli.application import Application
from lazytorch.cli.results import member_line
from lazytorch.cli.sweep import KILLED, VARIABLE, Record, Sweep, SweepCallback
from lazytorch.runs import RunDirectory

SECONDS = r"(0\.\d+|[1-9](\.\d)?|\d\d) s"  # with two digits, of a sweep of four tiny runs


def runs(folder):
    return [RunDirectory(path) for path in sorted(Path(folder).iterdir())]


def measured(folder):
    """What was measured in each run, without times."""
    untimed = {run.path.name: [row | {"seconds": 0} for row in run.metrics] for run in runs(folder)}
    assert untimed
    return untimed


def test_a_sweep_skips_what_is_done_and_goes_on_when_asked_for_more(lazytorch, tiny):
    tiny = [*tiny, "probes=[]"]
    code, out, err = lazytorch("-m", *tiny, "alpha=1,1e7,inf")
    assert code == 0 and out == ["runs/mlp-digits"]
    assert [run.config["alpha"] for run in runs(*out)] == [1, 1e7, float("inf")]
    assert [run.path.name.split(",")[0] for run in runs(*out)] == ["alpha=1", "alpha=1e7", "alpha=inf"]
    before = {path: path.read_bytes() for run in runs(*out) for path in run.path.rglob("*.*") if path.is_file()}
    code, out, err = lazytorch("-m", *tiny, "alpha=1,1e7,.inf", "device=cpu")
    assert code == 0 and err.count(" is done (finished): train ") == 3
    assert {path: path.read_bytes() for path in before} == before
    code, out, err = lazytorch(*tiny, "alpha=1e7", "epochs=2")
    assert code == 0 and "goes on from epoch 1" in err
    assert [row["epoch"] for row in RunDirectory(out[-1]).metrics] == [0, 1, 2]
    code, out, err = lazytorch(*tiny, "alpha=1e7", "resume=false")
    assert [row["epoch"] for row in RunDirectory(out[-1]).metrics] == [0, 1]


def test_a_sweep_prints_where_it_is_and_what_came_out(lazytorch, folder, tiny):
    code, out, err = lazytorch(
        "-m", *tiny, "probes=[displacement]", "model=mlp,two_layer", "model.gain=1", "alpha=1,10"
    )
    assert code == 1 and out == []  # model.width is no key of two_layer
    tiny = [argument for argument in tiny if "width" not in argument]
    code, out, err = lazytorch("-m", *tiny, "probes=[displacement]", "model=mlp,two_layer", "alpha=1,10")
    assert code == 0 and out == ["runs/mlp-digits", "runs/two_layer-digits"]
    lines = [line for line in err.splitlines() if line.startswith("lazytorch: [")]
    assert [re.search(r"\[(\d)/4", line).group(1) for line in lines] == ["1", "2", "3", "4"]
    assert all(
        re.match(rf"lazytorch: \[\d/4, {SECONDS} left\] model=(mlp|two_layer) alpha=\d+ finished: train \d", line)
        for line in lines[:3]
    )
    assert "left" not in lines[3] and all(", test " in line for line in lines)
    head, *rows = err.splitlines()[-5:]
    assert head.split() == ["run", "status", "train_accuracy", "test_accuracy", "displacement", "seconds"]
    names = [row.split()[0] for row in rows]
    assert names == [f"alpha={alpha},model={model}" for model in ("mlp", "two_layer") for alpha in (1, 10)]
    assert not list((folder / "runs").glob(".sweeps"))
    assert {path.name for path in folder.iterdir()} == {"runs"}


def test_a_failed_member_is_reported_and_the_others_run(lazytorch, tiny):
    code, out, err = lazytorch("-m", *tiny, "probes=[]", "alpha=1,0,inf")
    assert code == 1 and out == ["runs/mlp-digits"]
    assert [run.config["alpha"] for run in runs(*out)] == [1, float("inf")]
    assert err.count("[2/3") == 1 and err.count("alpha=0 failed: alpha must be in (0, inf]") == 1
    assert "Traceback" not in err and ["alpha=0", "failed"] in [line.split()[:2] for line in err.splitlines()]


@pytest.mark.parametrize("fused", ("false", "true"))
def test_a_mistake_of_all_members_is_printed_once(lazytorch, folder, tiny, fused):
    code, out, err = lazytorch("-m", *tiny, f"sweep.fused={fused}", "data.train_size=5", "alpha=1,10,100")
    assert code == 1 and out == []
    assert err.count("no class-balanced subset of 5 can be drawn from 10 classes") == 1
    assert err.splitlines()[-1] == "lazytorch: 3 of 3 members failed as alpha=1 did" and len(err.splitlines()) == 2
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "multirun.yaml"]


def test_a_choice_that_does_not_exist_is_found_before_anything_is_run(lazytorch, folder, tiny):
    code, out, err = lazytorch("-m", *tiny, "model=mlp,vgg99")
    assert code == 1 and out == [] and len(err.splitlines()) == 1
    assert "there is no model=vgg99: choose one of" in err
    assert not [path for path in folder.rglob("*") if path.is_file() and path.name != "multirun.yaml"]


def test_side_by_side_over_alpha_and_learning_rate_is_the_sweep(lazytorch, monkeypatch, tiny):
    monkeypatch.setenv("LAZYTORCH_PROGRESS", "1")
    arguments = ("-m", *tiny, "alpha=1,inf", "optimizer.lr=0.1,0.2", "precision=float64", "probes=[displacement,ntk]")
    code, out, err = lazytorch(*arguments, "sweep.fused=true", "runs_dir=fused")
    assert code == 0 and out == ["fused/mlp-digits"] and "alpha=1–inf epoch 1, " in err
    assert "[4/4]" in err and err.splitlines()[-5].split()[:2] == ["run", "status"]
    assert lazytorch(*arguments, "runs_dir=apart")[0] == 0
    assert measured("fused/mlp-digits") == measured("apart/mlp-digits") and len(measured("fused/mlp-digits")) == 4
    code, out, err = lazytorch(*arguments, "sweep.fused=true", "runs_dir=fused")
    assert code == 0 and out == ["fused/mlp-digits"] and err.count(" is done (finished)") == 4


def test_side_by_side_over_keys_outside_the_identity_drops_no_member(lazytorch, tiny):
    """One run is asked for twice, another with fewer epochs than it has; each member is accounted for."""
    sweep = ("-m", *tiny, "probes=[]", "sweep.fused=true")
    code, out, err = lazytorch(*sweep, "alpha=inf,.inf,1", "epochs=2,1")
    assert code == 0 and "[6/6]" in err and len(runs(*out)) == 2
    assert [run.summary["epochs"] for run in runs(*out)] == [2, 2]
    assert err.count("finished") == 3 + 3 + 6  # three runs or repetitions, three that are done, and the table


def test_side_by_side_over_folders_drops_no_member(lazytorch, folder, tiny):
    from PIL import Image

    fast = [argument for argument in tiny if not argument.startswith("data")]
    for name, grey in (("a", 5), ("same", 5), ("other", 9)):
        for part in ("train", "test"):
            for index, label in enumerate(("ant", "bee")):
                (folder / name / part / label).mkdir(parents=True)
                Image.new("L", (8, 8), 80 * index + grey).save(folder / name / part / label / "0.png")
    sweep = ("-m", *fast, "probes=[]", "sweep.fused=true", "data=images", "batch_size=2")
    code, out, err = lazytorch(*sweep, "data.root=a,same", "alpha=1,inf")
    assert code == 0 and "[4/4]" in err and len(runs(*out)) == 2 and err.count(" is done (finished)") == 2
    code, out, err = lazytorch(*sweep, "data.root=a,other", "alpha=1,inf")
    assert code == 1 and err.count(" is done (finished)") == 2 and "data.root=other alpha=1 failed: " in err
    assert err.count("resume=false") == 2


def test_a_member_that_cannot_begin_leaves_a_fused_sweep(lazytorch, folder, tiny):
    (folder / "loggamma.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self):\n"
        "        super().__init__(nn.Flatten(), nn.Linear(64, 10))\n\n"
        "    def forward(self, x):\n"
        "        return torch.special.erfcx(2 + super().forward(x) ** 2)\n"
    )
    fast = [argument for argument in tiny if not argument.startswith("model")]
    own = ("model=custom", "model._target_=loggamma.Net", "alpha=10,inf,.inf", "sweep.fused=true", "probes=[]")
    code, out, err = lazytorch("-m", *fast, *own)
    assert code == 1 and "alpha=10 failed: operator aten.special_erfcx" in err
    (run,) = runs(*out)
    assert run.summary["alpha"] == "inf" and run.summary["status"] == "finished"


def test_a_member_that_fails_in_company_leaves_the_others(lazytorch, folder, tiny):
    (folder / "mine.py").write_text("def norm(model):\n    return {'inverse': 1 / (model.alpha - 10)}\n")
    sweep = ("-m", *tiny, "sweep.fused=true", "alpha=1,10,100", "probes=[displacement,mine.norm]")
    code, out, err = lazytorch(*sweep)
    assert code == 1 and err.count("alpha=10 failed: ZeroDivisionError: float division by zero (mine.py:2)") == 1
    assert {run.summary["alpha"]: run.summary["status"] for run in runs(*out)} == {
        1.0: "finished",
        10.0: "failed",
        100.0: "finished",
    }


def test_the_closing_table_names_a_swept_value_that_is_the_default(lazytorch, tiny):
    _, _, err = lazytorch("-m", *tiny, "probes=[]", "optimizer.momentum=0.9,0.5")
    table = err.splitlines()
    assert any(line.startswith("momentum=0.9 ") for line in table)
    assert any(line.startswith("momentum=0.5 ") for line in table)


def test_members_may_go_into_several_folders(lazytorch, tiny):
    code, out, err = lazytorch("-m", *tiny, "probes=[]", "runs_dir=a,b")
    assert code == 0 and out == ["a/mlp-digits", "b/mlp-digits"], err


def test_members_that_leave_no_record_are_known(folder, monkeypatch):
    """Of four members one has ended, one has failed, one was killed, and one has not begun."""
    monkeypatch.setenv(VARIABLE, "")
    callback = SweepCallback()
    overrides = ["alpha=1,2,3,4", "seed=7"]
    sweeper = {"_target_": "hydra._internal.BasicSweeper", "params": None}
    config = {"runs_dir": "runs", "hydra": {"overrides": {"task": overrides}, "sweeper": sweeper}}
    callback.on_multirun_start(OmegaConf.create(config))
    sweep = Sweep.current()
    assert sweep.members == 4 and sweep.shorten(["alpha=2", "seed=7"]) == "alpha=2"
    assert sweep.shorten(["alpha=10000000.0"]) == "alpha=1e7"
    assert [sweep.shorten([text]) for text in ("alpha=1.2345678", "alpha=1234567")] == [
        "alpha=1.2345678",
        "alpha=1234567",
    ]
    records = [Record(number, f"alpha={number + 1}") for number in range(3)]
    for record in records:
        sweep.begin(record)
    sweep.leave(replace(records[2], error="it broke"))
    sweep.leave(replace(records[0], directory="runs/x/y", summary={"status": "finished"}))
    assert sweep.where().startswith("2/4, ")
    left = Sweep.end_current()
    assert [(record.number, record.directory, record.error) for record in left] == [
        (0, "runs/x/y", None),
        (1, None, KILLED),
        (2, None, "it broke"),
    ]
    assert list((folder / "runs").iterdir()) == [] and Sweep.current() is None


def test_the_line_of_a_member_counts_its_claims():
    claims = [{"text": "a", "held": True}, {"text": "b", "held": None}, {"text": "c", "held": True}]
    record = Record(0, "alpha=1", "runs/x", {"status": "finished", "claims": claims, "slope": 1.0})
    assert member_line(record) == "alpha=1 finished: 2 held, 1 hypotheses not met"
    assert member_line(replace(record, summary={"status": "diverged", "verdict": "diverged"})) == "alpha=1 diverged"


def test_what_a_parallel_launcher_lost_is_printed(folder, monkeypatch, capfd):
    killed = [Record(number, f"alpha={number}", error=KILLED) for number in (1, 2)]
    sweep = Sweep(str(folder / "x"), 5, ("alpha",), 0.0)
    monkeypatch.setattr(Sweep, "current", classmethod(lambda _: sweep))
    monkeypatch.setattr(Sweep, "end_current", classmethod(lambda _: killed))
    assert Application(in_full=False).close() == 1
    assert capfd.readouterr() == (
        "",
        f"lazytorch: alpha=1 failed: {KILLED}\n"
        "lazytorch: 2 of 5 members failed as alpha=1 did\n"
        "lazytorch: 3 of 5 members have not been run: start the sweep again\n",
    )


def test_members_side_by_side_are_in_one_process(lazytorch, tiny):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "alpha=1,10", "probes=[]")
    code, out, err = lazytorch("-m", *tiny, "sweep.fused=true", *launcher)
    assert code == 1 and out == [] and err.count("use hydra/launcher=basic, or sweep.fused=false") == 1
    assert lazytorch("-m", *tiny, *launcher)[:2] == (0, ["runs/mlp-digits"])
