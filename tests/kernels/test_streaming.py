"""Kernels that are written to a file, go on after an interruption, and are not believed when it was changed."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.kernels import plan_ntk
from lazytorch.kernels.streaming import KernelFile
from lazytorch.kernels.tiles import Kernel

from .networks import Lambda
from .thinned import thinned

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


def finished(tmp_path, kind="full"):
    """The arguments of a call that has been finished, and its kernel."""
    net, x = network()
    arguments = {"net": net, "x1": x, "kind": kind, "max_memory": MEMORY, "file": tmp_path / "kernel.npy"}
    return arguments, lt.empirical_ntk(**arguments).clone()


def zero_a_tile(file, place):
    """Values overwritten without a trace in the file's size; ``place``: a row and a column."""
    values = np.load(file, mmap_mode="r+")
    values[place] = 0
    values.flush()


# On the diagonal, beside it, and the mirror image.
@pytest.mark.parametrize("kind, place", thinned(("full", "trace", "diagonal"), ((0, 0), (0, 40), (40, 0))))
def test_values_that_were_overwritten_are_computed_again(tmp_path, interrupt, caplog, kind, place):
    arguments, expected = finished(tmp_path, kind)
    zero_a_tile(arguments["file"], place)
    computed = interrupt(100)
    assert torch.equal(lt.empirical_ntk(**arguments), expected)
    assert len(computed) == 1 and "kernel.npy: the values of 1 finished tiles" in caplog.text
    interrupt(0)  # and that was noted
    assert torch.equal(lt.empirical_ntk(**arguments), expected)


def test_values_overwritten_before_the_computation_goes_on(tmp_path, interrupt):
    net, x = network()
    arguments = {"net": net, "x1": x, "max_memory": MEMORY, "file": tmp_path / "kernel.npy"}
    interrupt(4)
    with pytest.raises(KeyboardInterrupt):
        lt.empirical_ntk(**arguments)
    zero_a_tile(arguments["file"], (0, 0))
    computed, total = interrupt(100), tiles(net, x, "full")
    assert torch.equal(lt.empirical_ntk(**arguments), lt.empirical_ntk(net, x, max_memory=MEMORY))
    assert len(computed) == total - 3 + total  # of the file all but three, and all in memory


def test_values_overwritten_during_the_computation_are_noticed(tmp_path, monkeypatch):
    net, x = network()
    arguments = {"net": net, "x1": x, "max_memory": MEMORY, "file": tmp_path / "kernel.npy"}
    total, finish, written = tiles(net, x, "full"), KernelFile.finish, []

    def finish_and_damage(self, values, tile):
        finish(self, values, tile)
        written.append(tile)
        if len(written) == total:
            zero_a_tile(self.path, (0, 0))

    monkeypatch.setattr(KernelFile, "finish", finish_and_damage)
    with pytest.raises(RuntimeError, match=r"kernel\.npy has been changed while it was written.*call again"):
        lt.empirical_ntk(**arguments)
    monkeypatch.undo()
    assert torch.equal(lt.empirical_ntk(**arguments), lt.empirical_ntk(net, x, max_memory=MEMORY))


def shorten(file):
    os.truncate(file, file.stat().st_size - 8)


def cut(file):
    os.truncate(file, 50)


def empty(file):
    os.truncate(file, 0)


def lengthen(file):
    with open(file, "ab") as stream:
        stream.write(b"\0")


def of_another_type(file):
    np.save(file, np.load(file).astype(np.float64))


def of_another_shape(file):
    np.save(file, np.load(file)[:40])


def of_another_order(file):
    np.save(file, np.asfortranarray(np.load(file)))


def of_text(file):
    file.write_text("{'descr': '<f4', 'shape': (")


@pytest.mark.parametrize(
    "change", (shorten, cut, empty, lengthen, of_another_type, of_another_shape, of_another_order, of_text, Path.unlink)
)
def test_a_file_of_another_form_is_refused_and_left_alone(tmp_path, change):
    arguments, expected = finished(tmp_path)
    file = arguments["file"]
    change(file)
    before = file.read_bytes() if file.exists() else None
    with pytest.raises(FileExistsError, match=r"kernel\.npy is not the file .* delete both or give another file"):
        lt.empirical_ntk(**arguments)
    assert (file.read_bytes() if file.exists() else None) == before
    file.unlink(missing_ok=True)
    (tmp_path / "kernel.npy.tiles").unlink()
    assert torch.equal(lt.empirical_ntk(**arguments), expected)


@pytest.mark.parametrize("line", (b"7\n", b"9999 abc\n", b"-1 abc\n", b"\xff\xfe abc\n", b"\n"))
def test_a_record_that_cannot_be_read_is_refused(tmp_path, line):
    arguments, _ = finished(tmp_path)
    with open(tmp_path / "kernel.npy.tiles", "ab") as record:
        record.write(line)
    with pytest.raises(FileExistsError, match=r"kernel\.npy.*delete"):
        lt.empirical_ntk(**arguments)


def test_a_record_that_was_cut_has_those_tiles_computed_again(tmp_path, interrupt):
    arguments, expected = finished(tmp_path)
    record = tmp_path / "kernel.npy.tiles"
    os.truncate(record, record.stat().st_size - 40)  # a line, and a part of one
    computed = interrupt(100)
    assert torch.equal(lt.empirical_ntk(**arguments), expected) and len(computed) == 2


def test_a_file_of_no_record_stays_without_one(tmp_path):
    net, x = network()
    np.save(tmp_path / "kernel.npy", np.ones(3))
    with pytest.raises(FileExistsError, match="delete"):
        lt.empirical_ntk(net, x, file=tmp_path / "kernel.npy")
    assert os.listdir(tmp_path) == ["kernel.npy"] and np.load(tmp_path / "kernel.npy").sum() == 3


def test_a_call_waits_for_another_that_writes_the_same_file(tmp_path, monkeypatch, caplog):
    net, x = network()
    arguments = {"net": net, "x1": x, "max_memory": MEMORY, "file": tmp_path / "kernel.npy"}
    write, computed, results, others = Kernel.write, [], [], []

    def write_and_call(self, kernel, tile):
        if not others:
            others.append(threading.Thread(target=lambda: results.append(lt.empirical_ntk(**arguments))))
            others[0].start()
            deadline = time.monotonic() + 60
            while "being written by another process" not in caplog.text and time.monotonic() < deadline:
                time.sleep(0.01)
        computed.append(tile)
        write(self, kernel, tile)

    monkeypatch.setattr(Kernel, "write", write_and_call)
    results.append(lt.empirical_ntk(**arguments))
    others[0].join()
    assert "being written by another process" in caplog.text
    assert len(computed) == tiles(net, x, "full")  # each by one of them
    expected = lt.empirical_ntk(net, x, max_memory=MEMORY)
    assert all(torch.equal(result, expected) for result in results) and len(results) == 2


def test_a_kernel_of_no_numbers_is_read_again(tmp_path):
    net, x = network()
    nn.init.constant_(net[0].weight, torch.inf)
    kernels = [lt.empirical_ntk(net, x, file=tmp_path / "kernel.npy") for _ in range(2)]
    assert kernels[0].isnan().any() and torch.equal(kernels[0].isnan(), kernels[1].isnan())
