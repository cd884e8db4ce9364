"""Device placement without an accelerator: nothing of a step touches another device or waits for the values."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("stand_in_accelerator.py")


def run(fault):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, SCRIPT, fault], capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    return result


def test_step_evaluation_and_probes_stay_on_the_device():
    result = run("clean")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "all on fakeacc\n"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("cpu tensor in the model", "device"),
        ("cpu tensor in the loss", "device"),
        ("hidden item", "DataDependentOutputException"),
    ],
)
def test_a_planted_fault_is_found(fault, message):
    result = run(fault)
    assert result.returncode == 1 and message in result.stderr
