"""Kernels under torch.distributed: each process's own, or one that two share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import lazytorch as lt

from .sharing import MEMORY, problem

SCRIPT = Path(__file__).with_name("sharing.py")
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(lt.__file__).parents[1]), *sys.path]),
    "OMP_NUM_THREADS": "1",
}


def run(folder, *launcher):
    """What each of two processes has found."""
    command = [sys.executable, *launcher, SCRIPT, folder]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert process.returncode == 0, process.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What each of two processes has found."""
    return run(tmp_path_factory.mktemp("sharing"))


@pytest.fixture(scope="module")
def expected():
    net, x = problem()
    return lt.empirical_ntk(net, x, max_memory=MEMORY)


def own_kernel(rank):
    net, x = problem()
    if rank == 1:
        nn.init.ones_(net[0].weight)
    return lt.empirical_ntk(net, x, max_memory=MEMORY)


def test_without_a_group_every_process_has_its_own_kernel(results):
    for rank, result in enumerate(results):
        assert torch.equal(result["alone"]["own"], own_kernel(rank))
    assert not torch.allclose(results[0]["alone"]["own"], results[1]["alone"]["own"])


def test_without_a_group_a_call_on_one_process_returns(results, expected):
    assert torch.equal(results[0]["alone"]["on the first only"], expected)


def test_without_a_group_one_file_has_one_kernel(results, expected):
    for result in results:
        assert torch.equal(result["alone"]["same file"], expected)
    clashes = sorted(result["alone"]["clash"] for result in results)
    assert clashes[0].startswith("FileExistsError") and "delete them" in clashes[0] and clashes[1] == "nothing"


def check_shared(results, expected):
    for result in results:
        shared = result["shared"]
        torch.testing.assert_close(shared["memory"], expected)
        assert torch.equal(shared["memory"], shared["memory"].permute(1, 0, 3, 2))
        for name in ("file", "damaged"):
            assert torch.equal(shared[name], shared["memory"])
    counts = [result["shared"]["tiles"] for result in results]
    assert sum(counts) == results[0]["shared"]["planned"] and min(counts) > 1


def test_the_members_of_a_group_share_the_tiles(results, expected):
    check_shared(results, expected)
    for result in results:
        torch.testing.assert_close(result["shared"]["pair"], expected[:, :7])
        assert "FileExistsError" in result["shared"]["other"] and "delete them" in result["shared"]["other"]


def test_a_process_outside_the_group_is_refused(results, expected):
    torch.testing.assert_close(results[0]["shared"]["first"], expected[:, :7])
    assert results[1]["shared"]["outside"].startswith("ValueError: group=")
    net, x = problem()
    with pytest.raises(ValueError, match="group='all' is no torch.distributed.ProcessGroup.*None to compute alone"):
        lt.empirical_ntk(net, x, group="all")


@pytest.mark.parametrize("name", ("weights", "net", "forward", "x1", "x2", "kind", "max_memory", "file"))
def test_processes_that_differ_are_refused(results, name):
    for result in results:
        message = result["refused"][name]
        assert message.startswith(f"ValueError: the processes of the group differ in {name.replace('forward', 'net')}")
        assert "group=None" in message


def test_an_error_in_one_process_is_one_in_all(results):
    unsuitable = [result["refused"]["unsuitable"] for result in results]
    assert unsuitable[1].startswith("ValueError: unknown kind 'half'")
    assert unsuitable[0].startswith("ValueError: process 1 of the group: ValueError: unknown kind 'half'")
    assert all("random in training mode" in result["refused"]["random"] for result in results)
    failing = [result["failing"] for result in results]
    assert failing[1] == "MemoryError: no more"
    assert failing[0] == "RuntimeError: process 1 of the group: MemoryError: no more"


@pytest.mark.slow
def test_under_torchrun(tmp_path, expected):
    check_shared(run(tmp_path, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"), expected)
