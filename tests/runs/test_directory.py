import json
import math
import os
import signal
import subprocess
import sys

import pytest

from lazytorch.runs import RunDirectory, find, identity, write_atomically

CONFIG = {"seed": 0, "alpha": math.inf, "optimizer": {"lr": 1e-7}, "data": {"name": "digits"}}
VERSIONS = {"torch": "2.15.0", "device": "cpu"}
FINGERPRINT = {"train": "ab12", "shape": (1, 8, 8)}


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "runs" / "name" / "0123")
    run.create(CONFIG, VERSIONS, FINGERPRINT)
    return run


def test_config_comes_back_in_the_order_it_was_given(run):
    config = run.config
    assert config == CONFIG | {"versions": VERSIONS, "data_fingerprint": {"train": "ab12", "shape": [1, 8, 8]}}
    assert list(config)[:4] == list(CONFIG)
    assert identity(config) == identity(CONFIG)


def test_the_same_data_may_go_on_and_other_data_may_not(run):
    run.create(CONFIG | {"epochs": 20}, VERSIONS, FINGERPRINT)
    assert run.config["epochs"] == 20
    with pytest.raises(ValueError, match="data .*ab12.* not .*cd34.*; use another runs_dir, or resume=false"):
        run.create(CONFIG, VERSIONS, {"train": "cd34"})
    assert run.config["epochs"] == 20


def test_clear_leaves_nothing_of_a_former_run(run):
    run.append({"epoch": 0})
    run.write_summary({"status": "finished"})
    write_atomically(run.checkpoint("best"), lambda file: file.write(b"theta"))
    run.tensorboard.mkdir()
    run.clear()
    assert list(run.path.iterdir()) == []
    run.create(CONFIG, VERSIONS, {"train": "cd34"})
    assert run.metrics == [] and run.summary is None


def test_rows_are_strict_json(run):
    row = {"epoch": 0, "alpha": math.inf, "train_loss": math.nan, "by_layer": {"0": -math.inf, "1": None}, "x": [1.5]}
    run.append(row)
    strict = {"epoch": 0, "alpha": "inf", "train_loss": None, "by_layer": {"0": None, "1": None}, "x": [1.5]}
    text = (run.path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == strict
    assert text.count("\n") == 1 and run.metrics == [strict]


def test_summary_is_strict_json(run):
    assert run.summary is None
    run.write_summary({"alpha": math.inf, "train_loss": math.inf})
    assert run.summary == {"alpha": "inf", "train_loss": None}


@pytest.mark.parametrize("torn", ['{"epoch": 2', '{"epoch": 2}', "{", '{"epoch": 2, "name": "\\u00'])
def test_a_torn_last_line_is_ignored_and_never_grown(run, torn):
    run.append({"epoch": 0})
    run.append({"epoch": 1})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write(torn)
    assert run.metrics == [{"epoch": 0}, {"epoch": 1}]
    run.append({"epoch": 2})
    assert run.metrics == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]


def test_a_torn_first_line_is_ignored(run):
    (run.path / "metrics.jsonl").write_text('{"epo')
    assert run.metrics == []
    run.append({"epoch": 0})
    assert run.metrics == [{"epoch": 0}]


def test_truncate_keeps_the_rows_up_to_the_checkpoint(run):
    run.truncate(3)
    for epoch in range(6):
        run.append({"epoch": epoch, "alpha": math.inf})
    whole = (run.path / "metrics.jsonl").read_bytes()
    run.truncate(5)
    assert (run.path / "metrics.jsonl").read_bytes() == whole
    run.truncate(3)
    assert [row["epoch"] for row in run.metrics] == [0, 1, 2, 3]


def test_a_write_that_fails_leaves_the_former_file_alone(run):
    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    before = sorted(run.path.rglob("*"))
    content = (run.path / "config.yaml").read_bytes()
    with pytest.raises(OSError, match="disk full"):
        write_atomically(run.path / "config.yaml", fail)
    assert sorted(run.path.rglob("*")) == before and (run.path / "config.yaml").read_bytes() == content


HOLD = """
import sys, time
from lazytorch.runs import RunDirectory, write_atomically
run = RunDirectory(sys.argv[1])

def write(file):
    file.write(b"half of it")
    print("writing", flush=True)
    time.sleep(60)

with run.lock():
    write_atomically(run.checkpoint(), write)
"""


def test_a_killed_writer_lets_go_and_leaves_the_former_checkpoint(run):
    write_atomically(run.checkpoint(), lambda file: file.write(b"former"))
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "writing\n"
        with pytest.raises(RuntimeError, match="is being trained by another process"), run.lock():
            pytest.fail("two processes hold one run")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert len(os.listdir(run.checkpoint().parent)) == 2
    with run.lock():
        assert os.listdir(run.checkpoint().parent) == ["last.pt"]
        assert run.checkpoint().read_bytes() == b"former"
    with run.lock():
        pass


FORK = """
import os, signal, sys
from lazytorch.runs import RunDirectory
run = RunDirectory(sys.argv[1])
with run.lock():
    worker = os.fork()
    if worker == 0:
        signal.pause()
try:
    with run.lock():
        pass
finally:
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
"""


def test_a_forked_worker_does_not_keep_the_lock(run):
    subprocess.run([sys.executable, "-c", FORK, str(run.path)], check=True, timeout=60)


def test_find_sees_every_run_once_and_nothing_else(tmp_path):
    for name in ("b/2", "a/1", "a/3"):
        RunDirectory(tmp_path / "runs" / name).create(CONFIG, VERSIONS, FINGERPRINT)
    for folder in (tmp_path / "runs/a/.hydra", tmp_path / "runs/conf"):
        folder.mkdir()
        (folder / "config.yaml").write_text("alpha: 1\n")
    runs = tmp_path / "runs"
    found = find([runs, runs / "a", runs / "a" / "1"])
    assert [run.path for run in found] == [runs / "a/1", runs / "a/3", runs / "b/2"]
    assert find([runs / "conf"]) == []
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; give run directories"):
        find([tmp_path / "nowhere"])


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no config.yaml"):
        _ = RunDirectory(tmp_path).config
