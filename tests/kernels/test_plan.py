"""Plans keep their word: memory, in a process of its own."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import re, sys
from pathlib import Path

import torch
import lazytorch as lt


def resident(field):  # ru_maxrss would begin at that of the process which started this one
    return 1024 * int(re.search(rf"{field}:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])


kind, memory = sys.argv[1], int(sys.argv[2])
net, x = lt.models.vgg11(width=0.25), torch.randn(48, 3, 32, 32)
assert len(lt.kernels.plan_ntk(net, x, kind=kind, max_memory=memory).tiles()) > 2
lt.empirical_ntk(net, x[:2], kind=kind)  # what libraries allocate once
before = resident("VmRSS")
kernel = lt.empirical_ntk(net, x, kind=kind, max_memory=memory)
print(resident("VmHWM") - before - kernel.numel() * kernel.itemsize)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the process's memory from /proc")
@pytest.mark.parametrize("kind", ("full", "trace"))
def test_the_workspace_stays_within_max_memory(kind):
    memory = 60 * 2**20
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", SCRIPT, kind, str(memory)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert 0.5 * memory < int(result.stdout) < 1.05 * memory
