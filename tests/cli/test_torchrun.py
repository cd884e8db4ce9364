"""lazytorch in the processes of torchrun: one run, written and spoken of by the first."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing

import pytest

from lazytorch.runs import RunDirectory


def free_port():
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture
def start_all(start):
    """start_all(*arguments) -> what each of two processes has come to."""

    def start_all(*arguments):
        common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
        ranks = [{"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
        commands = [start(*arguments, environment=common | rank) for rank in ranks]
        return [command.wait() for command in commands]

    return start_all


def test_one_run_is_written_and_the_first_process_speaks(start_all, lazytorch, tiny, folder):
    tiny = [*tiny, "precision=float64", "batch_size=7"]
    (code, out, err), other = start_all(*tiny, "-m", "alpha=1,100")
    assert (code, out) == (0, ["runs/mlp-digits"]) and "finished" in err and other == (0, [], ""), (err, other)
    together = {run.config["alpha"]: run.metrics for run in map(RunDirectory, folder.glob("runs/*/alpha*"))}
    lazytorch(*tiny, "-m", "alpha=1,100", "runs_dir=alone")
    for run in map(RunDirectory, folder.glob("alone/*/alpha*")):
        for row, expected in zip(together[run.config["alpha"]], run.metrics, strict=True):
            for name in ("train_loss", "test_loss", "theta_norm", "ntk_drift", "activation_stability"):
                assert row[name] == pytest.approx(expected[name], rel=1e-9, abs=1e-12), name
    assert [code for code, _, _ in start_all(*tiny, "alpha=1", "epochs=2")] == [0, 0]  # goes on


def test_an_experiment_that_is_not_shared_is_refused(start_all):
    results = start_all("experiment=stable_step", "data.train_size=20", "data.test_size=10", "model.width=4")
    assert [code for code, _, _ in results] == [1, 1]
    assert all("start it without torchrun" in err for _, _, err in results)


@pytest.mark.slow
@pytest.mark.parametrize("rank", (0, 1))
def test_a_killed_process_ends_the_job_and_the_same_command_goes_on(folder, rank, tiny):
    def command(runs_dir):
        keys = ["epochs=30", "data.train_size=600", "batch_size=20", "precision=float64", f"runs_dir={runs_dir}"]
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
        return subprocess.Popen([*torchrun, "-m", "lazytorch", *tiny, *keys], stderr=subprocess.DEVNULL)

    def rows(runs_dir):
        found = [RunDirectory(path) for path in folder.glob(f"{runs_dir}/*/alpha*")]
        kept = found[0].metrics if found else []
        return [{name: value for name, value in row.items() if name != "seconds"} for row in kept]

    job = command("killed")
    while len(rows("killed")) < 4:
        time.sleep(0.1)
    os.kill(process_of(job.pid, rank), signal.SIGKILL)
    assert job.wait(60) != 0
    assert 4 <= len(rows("killed")) < 31
    assert command("killed").wait() == 0 and command("whole").wait() == 0
    assert len(rows("whole")) == 31 and rows("killed") == rows("whole")


def process_of(job, rank):
    children = subprocess.run(["pgrep", "-P", str(job)], capture_output=True, text=True).stdout.split()
    of_rank = [child for child in children if f"RANK={rank}" in environment_of(child)]
    return int(of_rank[0])


def environment_of(process):
    with open(f"/proc/{process}/environ") as file:
        return file.read().split("\0")
