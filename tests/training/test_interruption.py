"""Killed and interrupted runs, in real processes, against the uninterrupted run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lazytorch.runs import RunDirectory
from lazytorch.training.state import load_checkpoint

# One process per attempt would spend its time importing torch; the server imports once and forks.
SERVER = Path(__file__).with_name("forked_runs.py")
EPOCHS = 4
TIMES = {"seconds"}


class Server:
    def __init__(self):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([sys.executable, str(SERVER)], text=True, bufsize=1, env=environment, **pipes)
        ready = self.process.stdout.readline()
        assert ready == "ready\n", ready

    def start(self, *runs: Path, kill_at_write: int = 0, epochs: int = EPOCHS) -> int:
        print(json.dumps([list(map(str, runs)), epochs, kill_at_write]), file=self.process.stdin)
        return int(self.process.stdout.readline())

    def wait(self) -> int:
        """The exit status of the last one started; negative for the signal that ended it."""
        print("wait", file=self.process.stdin)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def server():
    server = Server()
    with server.process:  # closes the pipes, which ends it
        yield server


def result(run: Path):
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in RunDirectory(run).metrics]
    state = load_checkpoint(RunDirectory(run).checkpoint())
    return rows, state


def assert_same(run: Path, reference: Path):
    rows, state = result(run)
    expected_rows, expected = result(reference)
    assert rows == expected_rows
    for part in ("model", "optimizer", "random", "totals"):
        torch.testing.assert_close(state[part], expected[part], rtol=0, atol=0)
    assert state["epoch"] == EPOCHS


@pytest.fixture(scope="module")
def reference(server, tmp_path_factory):
    run = tmp_path_factory.mktemp("reference")
    started = time.monotonic()
    server.start(run)
    assert server.wait() == 0
    return run, time.monotonic() - started


def test_killed_at_random_moments(server, reference, tmp_path):
    """Ten SIGKILLs, three of them inside the writing of a checkpoint, then a run to the end."""
    expected, duration = reference
    draw = random.Random(0)
    killed = inside = 0
    for attempt in range(1, 200):
        if killed == 10:
            break
        if attempt % 3 == 0 and inside < 3:
            server.start(tmp_path, kill_at_write=draw.randint(1, 2))
            assert server.wait() == -signal.SIGKILL
            inside += 1
            assert list((tmp_path / "checkpoints").glob(".*.tmp")), "the kill did not land inside a write"
        else:
            pid = server.start(tmp_path)
            time.sleep(draw.uniform(0.0, 0.12) * duration)
            os.kill(pid, signal.SIGKILL)
            if server.wait() == 0:
                pytest.fail("the run ended before it was killed ten times")
        killed += 1
    assert killed == 10 and inside >= 2
    server.start(tmp_path)
    assert server.wait() == 0
    assert_same(tmp_path, expected)
    assert not list((tmp_path / "checkpoints").glob(".*.tmp"))


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGINT))
def test_asked_to_stop_a_loop_over_alphas_ends_with_a_checkpoint_and_goes_on(server, reference, tmp_path, number):
    """Ctrl-C ends the script, not one member: the next alpha is not begun."""
    expected, duration = reference
    first, second = tmp_path / "first", tmp_path / "second"
    pid = server.start(first, second)
    while not (first / "checkpoints" / "last.pt").exists():
        time.sleep(0.005)
    time.sleep(0.05 * duration)
    os.kill(pid, number)
    assert server.wait() == 100 + number
    assert RunDirectory(first).summary["status"] == "interrupted" and not second.exists()
    server.start(first)
    assert server.wait() == 0
    assert RunDirectory(first).summary["status"] == "finished"
    assert_same(first, expected)


def test_a_finished_run_can_be_asked_for_more(server, reference, tmp_path):
    server.start(tmp_path, epochs=2)
    assert server.wait() == 0
    server.start(tmp_path)
    assert server.wait() == 0
    assert_same(tmp_path, reference[0])
