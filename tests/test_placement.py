"""Device placement without an accelerator: nothing of a step touches another device or waits for the values."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import lazytorch as lt
from lazytorch.training.isolation import unmoved

TWO_DEVICES = r"devices,? fakeacc:0(,| and) cpu"
FAULTS = {
    "cpu tensor in the model": TWO_DEVICES,
    "cpu tensor in the loss": TWO_DEVICES,
    "hidden item": r"DataDependentOutputException: aten\._local_scalar_dense",
}


def run_script(name, *arguments):
    """What a script on the stand-in prints of each argument."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, Path(__file__).with_name(name), *arguments]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stderr
    printed = {key: end for line in result.stdout.splitlines() for key, end in json.loads(line).items()}
    assert printed.keys() == {*arguments}, result.stderr
    return printed


@pytest.fixture(scope="module")
def ends():
    """How the run with each fault ended, and the one without."""
    return run_script("stand_in_accelerator.py", *FAULTS, "clean")


def test_step_evaluation_and_probes_stay_on_the_device(ends):
    assert ends["clean"] == "all on fakeacc"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(ends, fault):
    assert re.search(FAULTS[fault], ends[fault].splitlines()[-1])


def check_transfers(*families):
    nothing = {"1": [], "1e+07": [], "inf": []}
    assert run_script("stand_in_transfers.py", *families) == dict.fromkeys(families, nothing)


def test_no_step_transfers_between_devices():
    check_transfers("operators")


@pytest.mark.slow
def test_no_step_of_any_family_of_torchvision_does():
    rest = ("alexnet", "convnext", "densenet", "efficientnet", "googlenet", "inception", "maxvit", "mnasnet")
    rest += ("mobilenet_v2", "mobilenet_v3", "regnet", "resnet", "shufflenet", "squeezenet", "swin", "swin_v2")
    rest += ("vgg", "vit")
    check_transfers(*rest)


class Readings(TorchDispatchMode):
    """Counts the single numbers that are read."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "measure",
    (
        lt.CenteredModel.displacement,
        lt.CenteredModel.displacement_by_module,
        lt.CenteredModel.theta_norm,
        unmoved,
        lambda model: model.load_state_dict(model.state_dict()),
    ),
)
def test_all_tensors_are_read_at_once(monkeypatch, measure):
    model = lt.CenteredModel(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), 10.0)
    lists, tolist = [], torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: lists.append(tensor) or tolist(tensor))
    with Readings() as singly:
        measure(model)
    assert len(lists) == 1 and singly.count == 0
