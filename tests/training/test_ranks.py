"""Processes that train one run together: any number of them gives what one gives."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lazytorch.runs import RunDirectory

SERVER = Path(__file__).with_name("ranks.py")
STOPPED = 3  # the exit code


@pytest.fixture(scope="module")
def server():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment["LAZYTORCH_PROGRESS"] = "0"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, SERVER], text=True, bufsize=1, env=environment, **pipes) as process:
        assert process.stdout.readline() == "ready\n"

        def ask(**request):
            print(json.dumps(request), file=process.stdin)
            return json.loads(process.stdout.readline())

        yield ask


@pytest.fixture
def run(server, tmp_path):
    """run(count, task="train", **arguments) -> exit codes and what each process has left."""

    def run(count, **arguments):
        codes = server(**({"task": "train", "directory": str(tmp_path)} | arguments), count=count)
        return codes, [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(count)]

    return run


def alike(found, expected, rel):
    """Whether two nested records agree in all but the time they took."""
    if isinstance(expected, dict):
        names = [name for name in expected if name != "seconds"]
        return found.keys() == expected.keys() and all(alike(found[name], expected[name], rel) for name in names)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected, [rel] * len(found)))
    if isinstance(expected, float) and isinstance(found, float):
        return found == pytest.approx(expected, rel=rel, abs=rel, nan_ok=True)
    return found == expected


def trained(run, count, **arguments):
    codes, found = run(count, **arguments)
    assert codes == [0] * count, found
    assert all(alike(other["rows"], found[0]["rows"], 0) for other in found)  # every process knows the same
    return found[0]


@pytest.mark.parametrize("count", (2, 3))
def test_several_processes_give_what_one_gives(run, count):
    arguments = {"alphas": [0.5, 1e7, math.inf], "kind": "small"}
    alone, together = trained(run, 1, **arguments), trained(run, count, **arguments)
    assert alike(together["rows"], alone["rows"], 1e-10)
    assert alike(together["summaries"], alone["summaries"], 1e-10)
    assert alone["rows"][1][-1]["train_loss"] < 0.99 * alone["rows"][1][0]["train_loss"]  # it has trained


@pytest.mark.slow
@pytest.mark.parametrize("precision, rel", (("float64", 1e-10), ("float32", 1e-5)))
@pytest.mark.parametrize("kind", ("mlp", "vgg11", "resnet18"))
def test_networks_over_three_epochs(run, kind, precision, rel):
    arguments = {"kind": kind, "precision": precision, "epochs": 3, "examples": 1003, "lr": 0.01}
    alone = trained(run, 1, **arguments)
    for count in (2, 3):
        assert alike(trained(run, count, **arguments)["rows"], alone["rows"], rel), count


def test_more_processes_than_examples_in_the_last_batch(run):
    arguments = {"examples": 101, "probes": []}
    assert alike(trained(run, 2, **arguments)["rows"], trained(run, 1, **arguments)["rows"], 1e-10)


def test_the_weights_are_those_of_the_first_process(run):
    apart, alone = trained(run, 2, apart=["weights"], probes=[]), trained(run, 1, probes=[])
    assert alike(apart["rows"], alone["rows"], 1e-10)


def test_each_process_draws_its_own_dropout_and_the_run_is_a_function_of_the_seed(run, tmp_path):
    arguments = {"kind": "dropout", "probes": []}
    whole = trained(run, 2, **arguments, epochs=3)
    half = trained(run, 2, **arguments, epochs=1, write=True)
    again = trained(run, 2, **arguments, epochs=3, write=True)
    assert alike(half["rows"][0], whole["rows"][0][:2], 0)
    assert alike(again["rows"], whole["rows"], 0)  # generator states of both are in the checkpoint
    alone = trained(run, 1, **arguments, epochs=3)
    assert not alike(alone["rows"], whole["rows"], 1e-10)


@pytest.mark.parametrize("kind", ("batch_norm", "centred by batch"))
def test_examples_that_influence_each_other_are_refused(run, kind):
    codes, found = run(2, kind=kind)
    assert codes == [1, 1] and all("in one process" in each["error"] for each in found), found
    assert run(1, kind=kind, probes=[])[0] == [0]


@pytest.mark.parametrize("apart", ("train", "alpha"))
def test_processes_that_were_given_different_things_are_refused(run, apart):
    codes, found = run(2, apart=[apart])
    assert codes == [1, 1] and all(f"another {apart}" in each["error"] for each in found), found


def test_the_first_process_writes_and_any_number_goes_on(run, tmp_path):
    trained(run, 2, write=True, epochs=1)
    trained(run, 3, write=True, epochs=2)
    written = RunDirectory(tmp_path / "100")
    alone = trained(run, 1, epochs=2)
    assert alike(written.metrics, alone["rows"][0], 1e-10)
    assert written.summary["status"] == "finished" and len(written.metrics) == 3
    codes, found = run(2, write=True, epochs=2, alphas=[100.0])
    assert codes == [0, 0] and alike(found[1]["rows"][0], alone["rows"][0], 1e-10)


def test_a_signal_to_one_process_stops_all_at_one_step(run, tmp_path):
    codes, found = run(2, write=True, epochs=3, stop=1)
    assert codes == [STOPPED, STOPPED] and found == [{"stopped": 15}] * 2
    assert RunDirectory(tmp_path / "100").summary["status"] == "interrupted"
    again = trained(run, 2, write=True, epochs=3)
    assert alike(again["rows"], trained(run, 2, epochs=3)["rows"], 0)


def test_an_error_in_one_process_ends_the_others(run, tmp_path):
    codes, found = run(2, write=True, epochs=3, fail=1)
    assert codes == [1, 1], found
    assert "has an error" in found[1]["error"] and "another process has ended" in found[0]["error"]
    assert RunDirectory(tmp_path / "100").summary["status"] == "failed"
    assert alike(trained(run, 2, write=True, epochs=3)["rows"], trained(run, 2, epochs=3)["rows"], 0)


def test_a_divergence_is_recorded_once(run, tmp_path):
    found = trained(run, 2, write=True, epochs=40, lr=1e12, precision="float32", probes=[])
    assert found["summaries"][0]["status"] == "diverged"
    written = RunDirectory(tmp_path / "100")
    assert written.summary["status"] == "diverged" and len(written.metrics) == len(found["rows"][0])
