"""Plans keep their word: memory, in processes of their own."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json, multiprocessing, re, sys
from pathlib import Path

import torch
from torch import nn
import lazytorch as lt


def resident(field):  # ru_maxrss would begin at that of the process which started this one
    return 1024 * int(re.search(rf"{field}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


def measure(kind, size, name):
    memory = size * 2**20
    if name == "vgg":
        net, x = lt.models.vgg11(width=0.25), torch.randn(48, 3, 32, 32)
        assert len(lt.kernels.plan_ntk(net, x, kind=kind, max_memory=memory).tiles()) > 2
    else:  # large activations, one example in a pass
        layers = [layer for c in (3, 8, 8) for layer in (nn.Conv2d(c, 8, 3, padding=1), nn.Tanh())]
        net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
        x = torch.randn(3, 3, 320, 320)
        assert lt.kernels.plan_ntk(net, x, kind=kind, max_memory=memory).chunk == 1
    lt.empirical_ntk(net, x[:2, :, :32, :32], kind=kind)  # what libraries allocate once
    before = resident("VmRSS")
    kernel = lt.empirical_ntk(net, x, kind=kind, max_memory=memory)
    used = resident("VmHWM") - before - kernel.numel() * kernel.itemsize
    print(json.dumps([f"{name}-{kind}", used / memory]), flush=True)


for case in json.loads(sys.argv[1]):
    process = multiprocessing.get_context("fork").Process(target=measure, args=case)
    process.start()
    process.join()
    assert process.exitcode == 0
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the process's memory from /proc")
@pytest.mark.parametrize(
    "cases",
    (
        (("full", 60, "vgg"),),
        pytest.param((("trace", 60, "vgg"), ("trace", 180, "large")), marks=pytest.mark.slow),
    ),
)
def test_the_workspace_stays_within_max_memory(cases):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what is freed goes back to the system
    command = [sys.executable, "-c", SCRIPT, json.dumps(cases)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    shares = dict(map(json.loads, result.stdout.splitlines()))
    assert len(shares) == len(cases)
    for name, share in shares.items():
        assert 0.5 < share < 1.05, name
