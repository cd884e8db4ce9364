"""Kernels that are written to a file, by one process or several, and go on after an interruption."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.kernels import plan_ntk
from lazytorch.kernels.tiles import Kernel

from .networks import Lambda

MEMORY = 40_000


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 3)), torch.randn(41, 5)


def tiles(net, x, kind):
    return len(plan_ntk(net, x, kind=kind, max_memory=MEMORY).tiles())


@pytest.fixture
def interrupt(monkeypatch):
    """A function that makes the computation stop after so many tiles."""
    counted, write = [], Kernel.write

    def after(number):
        counted.clear()

        def interrupted(self, kernel, which):
            if len(counted) == number:
                raise KeyboardInterrupt
            counted.append(which)
            write(self, kernel, which)

        monkeypatch.setattr(Kernel, "write", interrupted)
        return counted

    return after


@pytest.mark.parametrize("kind", ("full", "trace", "diagonal"))
def test_a_file_has_the_kernel(tmp_path, kind):
    net, x = network()
    assert tiles(net, x, kind) > 5
    kernel = lt.empirical_ntk(net, x, kind=kind, max_memory=MEMORY, file=tmp_path / "kernel.npy")
    expected = lt.empirical_ntk(net, x, kind=kind, max_memory=MEMORY)
    assert torch.equal(kernel, expected)
    assert np.array_equal(np.load(tmp_path / "kernel.npy"), expected.numpy())


def test_it_goes_on_after_an_interruption(tmp_path, interrupt):
    net, x = network()
    file, total = tmp_path / "kernel.npy", tiles(net, x, "full")
    expected = lt.empirical_ntk(net, x, max_memory=MEMORY)
    computed = interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        lt.empirical_ntk(net, x, max_memory=MEMORY, file=file)
    assert len(computed) == 3
    with open(f"{file}.tiles", "a") as record:
        record.write("4")  # a number that the kill cut off
    computed = interrupt(total)
    kernel = lt.empirical_ntk(net, x, max_memory=MEMORY, file=file)
    assert len(computed) == total - 3
    assert torch.equal(kernel, expected)
    interrupt(0)  # and when it is done nothing is computed
    assert torch.equal(lt.empirical_ntk(net, x, max_memory=MEMORY, file=file), expected)


def test_another_computation_is_refused(tmp_path):
    net, x = network()
    file = tmp_path / "kernel.npy"
    lt.empirical_ntk(net, x, max_memory=MEMORY, file=file)
    other = nn.Sequential(net[0], nn.ReLU(), net[2])
    moved = {name: parameter + 1e-6 for name, parameter in net.named_parameters()}
    for different in (
        {"net": other},
        {"x1": x + 1e-6},
        {"kind": "trace"},
        {"weights": moved},
        {"x2": x},
        {"max_memory": 2 * MEMORY},
    ):
        arguments = {"net": net, "x1": x, "max_memory": MEMORY} | different
        with pytest.raises(FileExistsError, match=r"kernel\.npy.*delete"):
            lt.empirical_ntk(**arguments, file=file)
    (tmp_path / "kernel.npy.tiles").unlink()
    with pytest.raises(FileExistsError, match="delete"):
        lt.empirical_ntk(net, x, max_memory=MEMORY, file=file)


def test_networks_that_differ_in_what_they_compute_alone_are_others(tmp_path):
    first, last, x = nn.Linear(5, 20), nn.Linear(20, 3), torch.randn(41, 5)
    for number, make in enumerate((nn.LeakyReLU, lambda c: Lambda(lambda self, x: x.sin() + c * x))):
        file = tmp_path / f"{number}.npy"
        lt.empirical_ntk(nn.Sequential(first, make(0.1), last), x, file=file)
        lt.empirical_ntk(nn.Sequential(first, make(0.1), last), x, file=file)
        with pytest.raises(FileExistsError, match="delete"):
            lt.empirical_ntk(nn.Sequential(first, make(0.9), last), x, file=file)


@pytest.mark.parametrize("length", (0, 10, 100, None))
def test_a_kill_before_the_first_tile(tmp_path, interrupt, length):
    """With so much written of the file, and the record whole or in part."""
    net, x = network()
    file, record = tmp_path / "kernel.npy", tmp_path / "kernel.npy.tiles"
    total, expected = tiles(net, x, "full"), lt.empirical_ntk(net, x, max_memory=MEMORY)
    interrupt(0)
    with pytest.raises(KeyboardInterrupt):
        lt.empirical_ntk(net, x, max_memory=MEMORY, file=file)
    if length is None:
        file.unlink()
        record.write_text(record.read_text()[:7])
    else:
        os.truncate(file, length)
    computed = interrupt(total)
    kernel = lt.empirical_ntk(net, x, max_memory=MEMORY, file=file)
    assert len(computed) == total and torch.equal(kernel, expected)


def test_what_is_read_from_the_file_can_be_changed_without_changing_it(tmp_path):
    net, x = network()
    kernel = lt.empirical_ntk(net, x, file=tmp_path / "kernel.npy")
    kernel.zero_()
    assert np.load(tmp_path / "kernel.npy").any()


WORKER = """
import sys, torch, torch.distributed as dist
from torch import nn
import lazytorch as lt
from lazytorch.kernels.tiles import Kernel

dist.init_process_group("gloo")
counted, tile = [], Kernel.tile
Kernel.tile = lambda self, which: counted.append(which) or tile(self, which)
torch.manual_seed(0)
net, x = nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 3)), torch.randn(41, 5)
kernel = lt.empirical_ntk(net, x, max_memory=40_000)
torch.save((kernel, len(counted)), f"{sys.argv[1]}/memory{dist.get_rank()}.pt")
mapped = lt.empirical_ntk(net, x, max_memory=40_000, file=f"{sys.argv[1]}/kernel.npy")
assert torch.equal(mapped, kernel)
try:
    lt.empirical_ntk(net, x + 1, max_memory=40_000, file=f"{sys.argv[1]}/kernel.npy")
except FileExistsError:
    torch.save(True, f"{sys.argv[1]}/refused{dist.get_rank()}.pt")
dist.destroy_process_group()
"""


def test_processes_share_the_tiles(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(lt.__file__).parents[1]), *sys.path])}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", script, tmp_path]
    subprocess.run(command, check=True, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, timeout=100)
    net, x = network()
    expected, counts = lt.empirical_ntk(net, x, max_memory=MEMORY), []
    for rank in range(2):
        kernel, count = torch.load(tmp_path / f"memory{rank}.pt", weights_only=True)
        torch.testing.assert_close(kernel, expected)
        assert torch.equal(kernel, kernel.permute(1, 0, 3, 2))
        assert torch.load(tmp_path / f"refused{rank}.pt", weights_only=True)
        counts.append(count)
    assert sum(counts) == tiles(net, x, "full") and min(counts) > 1
