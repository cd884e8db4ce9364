"""The command line in real processes: several at once, killed ones, and hydra's parallel launcher."""

import json
import re
import signal
from pathlib import Path

import pytest

from lazytorch.runs import RunDirectory


def runs(*folders):
    return [RunDirectory(path) for folder in folders for path in sorted(Path(folder).iterdir())]


def test_four_processes_that_start_one_sweep_train_every_member_once(start, tiny):
    """In either order, and side by side or not: none waits for another in a ring."""
    sweeps = [f"alpha={order} sweep.fused={fused}".split() for order in ("1,inf", "inf,1") for fused in (False, True)]
    processes = [start("-m", *tiny, "probes=[]", *sweep) for sweep in sweeps]
    results = [process.wait() for process in processes]
    assert [(code, out) for code, out, _ in results] == [(0, ["runs/mlp-digits"])] * 4, results
    printed = "".join(err for _, _, err in results)
    assert len(re.findall(r"\] alpha=\S+ finished: ", printed)) == 2
    assert len(re.findall(r"\] alpha=\S+ is done \(finished\): ", printed)) == 6
    assert [[row["epoch"] for row in run.metrics] for run in runs("runs/mlp-digits")] == [[0, 1]] * 2
    assert not list(Path("runs").glob(".sweeps/*"))


def test_a_run_killed_while_it_writes_its_checkpoint_goes_on_to_the_same_numbers(start, tiny):
    arguments = [*tiny, "epochs=3", "batch_size=8", "probes=[displacement,ntk]"]
    assert start(*arguments, "runs_dir=killed", kill_at_write=("last.pt", 2)).wait()[0] == -signal.SIGKILL
    code, _, err = start(*arguments, "runs_dir=killed").wait()
    assert code == 0 and "goes on from epoch 1" in err
    start(*arguments, "runs_dir=whole").wait()
    (killed,), (whole,) = runs("killed/mlp-digits"), runs("whole/mlp-digits")
    kept = [[{k: v for k, v in row.items() if k != "seconds"} for row in run.metrics] for run in (killed, whole)]
    assert kept[0] == kept[1] and len(kept[0]) == 4


def test_the_tables_of_an_experiment_go_on_after_a_kill(start):
    small = ["data.train_size=10", "data.test_size=10", "model.width=8", "steps=5", "alphas=[1e2,1e3]"]
    arguments = ["experiment=linear_dynamics", *small]
    killed = start(*arguments, "runs_dir=killed", kill_at_write=(".csv", 3))
    assert killed.wait()[0] == -signal.SIGKILL
    (run,) = runs("killed/linear_dynamics")
    assert run.summary is None and len(run.table("curves")) == 6
    before = run.table("departure")
    assert [row["alpha"] for row in before] == [100]
    assert start(*arguments, "runs_dir=killed").wait()[0] == 0
    start(*arguments, "runs_dir=whole").wait()
    (whole,) = runs("whole/linear_dynamics")
    assert run.table("departure")[:1] == before and run.table("departure") == whole.table("departure")
    assert run.table("curves") == whole.table("curves")
    assert [path.name for path in run.path.glob(".*")] == [".lock"]


def test_sigterm_checkpoints_and_the_same_command_goes_on(start, folder, tiny):
    (folder / "mine.py").write_text(
        "import os, signal\n\ncalls = []\n\n"
        "def stop(model):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 2 and not os.path.exists('stopped'):\n"
        "        open('stopped', 'w').close()\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return {'calls': 1}\n"
    )
    arguments = [*tiny, "epochs=3", "probes=[mine.stop]"]
    code, out, err = start(*arguments).wait()
    assert code == 128 + signal.SIGTERM and out == [] and "stopped" in err.splitlines()[-1]
    (run,) = runs("runs/mlp-digits")
    assert run.summary["status"] == "interrupted" and run.summary["epochs"] == 1
    code, _, err = start(*arguments).wait()
    assert code == 0 and "goes on from epoch 1" in err and run.summary["status"] == "finished"


JOBLIB = ["-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
KILL = """
import glob, os, signal, time

def kill(model):
    while model.alpha == 10 and not glob.glob("runs/.sweeps/*/1.done"):
        time.sleep(0.1)
    if model.alpha == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"one": 1}
"""


@pytest.mark.slow
def test_members_that_fail_or_are_killed_in_a_parallel_launcher_are_reported(start, folder, tiny):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    (folder / "mine.py").write_text(KILL)
    code, out, err = start(*JOBLIB, *tiny, "probes=[mine.kill]", "alpha=0,1,10").wait()
    assert code == 1 and out == ["runs/mlp-digits"], err
    assert err.count("alpha=0 failed: alpha must be in (0, inf]") == 1
    assert err.count("lazytorch: alpha=10 failed: its process was killed") == 1
    summaries = [run.summary for run in runs("runs/mlp-digits")]
    assert [(summary["alpha"], summary["status"]) for summary in summaries if summary] == [(1, "finished")]
    assert not list(Path("runs").glob(".sweeps/*"))


@pytest.mark.slow
def test_a_parallel_launchers_failed_member_is_exit_code_1(start, tiny):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    code, out, err = start(*JOBLIB, *tiny, "probes=[]", "alpha=0,10").wait()
    assert code == 1 and out == ["runs/mlp-digits"], err
    (run,) = runs("runs/mlp-digits")
    assert run.summary["alpha"] == 10 and run.summary["status"] == "finished"
    assert err.count("alpha=0 failed: alpha must be in (0, inf]") == 1
    lines = [line.split()[:2] for line in err.splitlines()]
    assert ["alpha=0", "failed"] in lines and ["alpha=10", "finished"] in lines  # the closing table


def test_a_member_that_fails_after_it_began_has_a_summary(lazytorch, folder, tiny):
    (folder / "mine.py").write_text(
        "def norm(model):\n"
        "    if model.alpha == 10 and model.theta_norm() > 0:\n"
        "        raise RuntimeError('the probe\\nbroke')\n"
        "    return {'norm': model.theta_norm()}\n"
    )
    code, out, err = lazytorch("-m", *tiny, "probes=[mine.norm]", "alpha=1,10,100")
    assert code == 1 and out == ["runs/mlp-digits"]
    assert err.count("alpha=10 failed: RuntimeError: the probe broke (mine.py:3)") == 1 and "Traceback" not in err
    found = {run.config["alpha"]: json.loads((run.path / "summary.json").read_text()) for run in runs(*out)}
    assert {alpha: summary["status"] for alpha, summary in found.items()} == {
        1: "finished",
        10: "failed",
        100: "finished",
    }
    assert found[10]["error"] == "RuntimeError: the probe broke" and found[10]["alpha"] == 10
    code, _, err = lazytorch("-m", *tiny, "probes=[mine.norm]", "alpha=1,10,100")
    assert code == 1 and err.count(" is done (finished)") == 2 and "alpha=10 failed" in err
