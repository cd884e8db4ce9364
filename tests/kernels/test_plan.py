"""Plans keep their word: memory, in a process of its own."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import re, sys
from pathlib import Path

import torch
from torch import nn
import lazytorch as lt


def resident(field):  # ru_maxrss would begin at that of the process which started this one
    return 1024 * int(re.search(rf"{field}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


kind, memory = sys.argv[1], int(sys.argv[2])
if sys.argv[3] == "vgg":
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
print(resident("VmHWM") - before - kernel.numel() * kernel.itemsize)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the process's memory from /proc")
@pytest.mark.parametrize("kind, size, net", (("full", 60, "vgg"), ("trace", 60, "vgg"), ("trace", 180, "large")))
def test_the_workspace_stays_within_max_memory(kind, size, net):
    memory = size * 2**20
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    environment["MALLOC_MMAP_THRESHOLD_"] = "65536"  # what is freed goes back to the system
    command = [sys.executable, "-c", SCRIPT, kind, str(memory), net]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert 0.5 * memory < int(result.stdout) < 1.05 * memory
