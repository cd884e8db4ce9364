"""Device placement without an accelerator: nothing of a step touches another device or waits for the values."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TWO_DEVICES = r"devices,? fakeacc:0(,| and) cpu"
FAULTS = {
    "cpu tensor in the model": TWO_DEVICES,
    "cpu tensor in the loss": TWO_DEVICES,
    "hidden item": r"DataDependentOutputException: aten\._local_scalar_dense",
}


@pytest.fixture(scope="module")
def ends():
    """How the run with each fault ended, and the one without."""
    script = Path(__file__).with_name("stand_in_accelerator.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, script, *FAULTS, "clean"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stderr
    ends = {fault: end for line in result.stdout.splitlines() for fault, end in json.loads(line).items()}
    assert ends.keys() == {*FAULTS, "clean"}, result.stderr
    return ends


def test_step_evaluation_and_probes_stay_on_the_device(ends):
    assert ends["clean"] == "all on fakeacc"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(ends, fault):
    assert re.search(FAULTS[fault], ends[fault].splitlines()[-1])
