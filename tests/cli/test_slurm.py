"""lazytorch under a real Slurm of one node: an array, failures, preemption, several tasks. As root, where it is."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lazytorch.runs import RunDirectory

SCRIPT = Path(__file__).parents[2] / "scripts" / "one-node-slurm"
PROGRAMS = ("slurmctld", "slurmd", "slurmdbd", "munged", "mariadbd")
LAUNCHER = ["-m", "hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2"]
LAUNCHER += ["hydra.launcher.gpus_per_node=1", "hydra.launcher.timeout_min=5"]
LONG = ["alpha=5", "epochs=30", "data.train_size=600", "batch_size=20", "precision=float64"]
MINE = """
import os, signal

def end(model):
    if model.alpha == 10:
        raise RuntimeError("broke")
    if model.alpha == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"one": 1}
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0 or not all(map(shutil.which, PROGRAMS)), reason="needs root and slurm-wlm"),
]


@pytest.fixture(scope="module")
def slurm():
    """The environment of a user of a Slurm that is up."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    state = tempfile.mkdtemp()  # where the database, which runs as another user, may go
    try:
        subprocess.run([SCRIPT, "up", state], check=True, stdout=subprocess.DEVNULL)
        path = os.pathsep.join(path for path in sys.path if path)
        yield os.environ | {"SLURM_CONF": f"{state}/slurm.conf", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    finally:
        subprocess.run([SCRIPT, "down", state], check=True)
        shutil.rmtree(state)


@pytest.fixture
def submit(slurm, folder, tiny):
    """submit(*arguments) -> the launching process."""

    def submit(*arguments):
        command = [sys.executable, "-m", "lazytorch", *LAUNCHER, *tiny, *arguments]
        return subprocess.Popen(command, env=slurm, stderr=subprocess.PIPE, text=True)

    return submit


def ask(slurm, *command):
    return subprocess.run(command, env=slurm, capture_output=True, text=True, check=True).stdout


def wait_until(holds):
    deadline = time.monotonic() + 240
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def rows(folder):
    found = [RunDirectory(path) for path in folder.glob("*/alpha*")]
    kept = found[0].metrics if found else []
    return [{name: value for name, value in row.items() if name != "seconds"} for row in kept]


def test_members_that_finish_fail_or_are_killed(submit, folder):
    (folder / "mine.py").write_text(MINE)
    job = submit("alpha=1,10,100", "probes=[mine.end]")
    _, err = job.communicate(timeout=300)
    assert job.returncode == 1
    assert "alpha=10 failed: RuntimeError: broke" in err and "alpha=100 failed: its process was killed" in err
    summaries = [RunDirectory(path).summary for path in folder.glob("runs/*/alpha*")]
    assert {s["alpha"]: s["status"] for s in summaries if s} == {1: "finished", 10: "failed"}


@pytest.mark.parametrize("tasks", (1, 2))
def test_a_preempted_job_is_queued_again_and_goes_on(slurm, submit, folder, lazytorch, tiny, tasks):
    launcher = {"tasks_per_node": tasks, "gpus_per_node": 2 - tasks}
    job = submit(*LONG, "probes=[]", *(f"hydra.launcher.{name}={value}" for name, value in launcher.items()))
    wait_until(lambda: len(rows(folder / "runs")) >= 4 or job.poll() is not None)
    number = ask(slurm, "squeue", "--noheader", "--states=R", "--format=%A").split()[0]
    ask(slurm, "scancel", "--signal=USR2", number)
    wait_until(lambda: "PENDING" in ask(slurm, "squeue", "--noheader", "--format=%T"))
    (run,) = map(RunDirectory, folder.glob("runs/*/alpha*"))
    assert run.summary["status"] == "interrupted"
    ask(slurm, "scontrol", "update", f"JobId={number}", "StartTime=now")  # else it waits for two minutes
    _, err = job.communicate(timeout=300)
    assert job.returncode == 0 and run.summary["status"] == "finished", err
    assert lazytorch(*tiny, *LONG, "probes=[]", "runs_dir=alone")[0] == 0
    for row, expected in zip(rows(folder / "runs"), rows(folder / "alone"), strict=True):
        assert row == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
