"""A device for each process of a launcher."""

import os

import pytest
import torch

from lazytorch.cli import devices
from lazytorch.training.placement import find_device


@pytest.fixture
def two_devices(monkeypatch):
    """A machine with two CUDA devices, as far as one can ask without any."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def as_a_new_process(monkeypatch):
    monkeypatch.setattr(devices, "_leased", [])
    os.environ.pop("LOCAL_RANK", None)


def test_each_process_has_its_own_device_until_it_ends(two_devices, monkeypatch, tmp_path):
    assert devices.devices() == 2
    held = []
    for number in (0, 1):
        as_a_new_process(monkeypatch)
        devices.lease_device(tmp_path, 2)
        held.append(devices._leased)
        assert find_device("auto") == torch.device("cuda", number)
        devices.lease_device(tmp_path, 2)  # of the next member, in the same process
        assert find_device("cuda") == torch.device("cuda", number)
    as_a_new_process(monkeypatch)
    with pytest.raises(ValueError, match="3 processes for 2 CUDA devices"):
        devices.lease_device(tmp_path, 3)
    held[0][0].close()  # the first one ends
    devices.lease_device(tmp_path, 2)
    assert find_device("auto") == torch.device("cuda", 0)
    for file in (held[1][0], devices._leased[0]):
        file.close()
    os.environ.pop("LOCAL_RANK")


def test_more_processes_than_devices_of_a_machine_are_refused(two_devices, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ValueError, match="start no more processes than devices"):
        find_device("auto")


def test_threads_are_divided_and_never_more_than_there_were(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    before, given = torch.get_num_threads(), []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    for mine, processes in ((8, 2), (8, 16), (1, 2)):
        monkeypatch.setattr(torch, "get_num_threads", lambda mine=mine: mine)
        devices.lease_device(tmp_path, processes)
    monkeypatch.undo()
    assert given == [4, 1, 1] and torch.get_num_threads() == before
