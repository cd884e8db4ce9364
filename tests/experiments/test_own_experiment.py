"""The experiment of docs/own-experiment, run as a user runs it: two files in an empty folder."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs" / "own-experiment"
COMMAND = [sys.executable, "-m", "lazytorch", "--config-dir", ".", "experiment=mine"]


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(DOCS, tmp_path, dirs_exist_ok=True)
    return tmp_path


def start(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [*COMMAND, *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(folder, *arguments):
    process = start(folder, *arguments)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return folder / out.splitlines()[-1], err


def test_it_is_short():
    lines = [
        file.read_text(encoding="utf-8").count("\n") for file in (DOCS / "mine.py", DOCS / "experiment" / "mine.yaml")
    ]
    assert sum(lines) < 40


def test_it_runs_is_skipped_and_goes_on_after_a_kill(folder):
    path, err = run(folder)
    assert path.parent == folder / "runs" / "mine" and "held: the kernel moves less" in err
    whole = (path / "drift.csv").read_bytes()
    assert len(whole.splitlines()) == 5 and any((path / "tensorboard").iterdir())
    before = (path / "summary.json").stat().st_mtime_ns
    again, err = run(folder)
    assert again == path and "is done" in err and (path / "summary.json").stat().st_mtime_ns == before

    process = start(folder, "runs_dir=killed")
    deadline = time.monotonic() + 120
    while not (found := list(folder.glob("killed/mine/*/drift.csv"))) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if not found[0].with_name("summary.json").exists():
        assert len(found[0].read_bytes().splitlines()) < 5
    path, _ = run(folder, "runs_dir=killed")
    assert (path / "drift.csv").read_bytes() == whole

    report = [sys.executable, "-m", "lazytorch.reports.cli", "runs", "-o", "report"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(report, cwd=folder, env=environment, check=True, capture_output=True)
    text = (folder / "report" / "report.md").read_text(encoding="utf-8")
    assert "the kernel moves less the wider the net is" in text and "held in 1 of 1" in text
    assert (folder / "report" / "drift.png").exists()
