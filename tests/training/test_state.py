"""Checkpoints that a disk, or somebody, has changed."""

import random

import pytest
import torch

import lazytorch as lt
from lazytorch.training.state import load_checkpoint

from .problems import TEST, assert_same, make, network


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    make(run_dir=path, probes=["displacement"]).fit(1)
    return path / "checkpoints" / "last.pt"


def split(record, path=""):
    """The tensors of a nested record, and its other values, by path."""
    if not isinstance(record, (dict, list)):
        return ({path: record}, {}) if isinstance(record, torch.Tensor) else ({}, {path: record})
    tensors, values = {}, {path: type(record)}
    for key, item in record.items() if isinstance(record, dict) else enumerate(record):
        found = split(item, f"{path}/{key}")
        tensors, values = tensors | found[0], values | found[1]
    return tensors, values


def test_one_flipped_bit_is_found_or_changes_nothing(checkpoint, tmp_path):
    """At 200 random positions of the file; what is loaded is the same to the last bit, or nothing is."""
    whole, expected = checkpoint.read_bytes(), load_checkpoint(checkpoint)
    draw, path = random.Random(0), tmp_path / "last.pt"
    refused = 0
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            loaded = load_checkpoint(path)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "damaged" in str(error) and "\n" not in str(error)
            continue
        tensors, values = split(loaded)
        assert values == split(expected)[1]
        assert_same(tensors, split(expected)[0])
    assert refused > 100  # the rest is padding


@pytest.mark.parametrize("length", (0, 1, 100, -100, -1))
def test_a_truncated_file_is_refused(checkpoint, tmp_path, length):
    path = tmp_path / "last.pt"
    path.write_bytes(checkpoint.read_bytes()[:length])
    with pytest.raises(ValueError, match="truncated or damaged: delete it"):
        load_checkpoint(path)


class Evil:
    def __reduce__(self):
        return print, ("this was run",)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"model": Evil()}, "more than tensors and plain values"),
        ({"model": {}}, "is not a lazytorch checkpoint"),
        ([1, 2], "is not a lazytorch checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path, capsys, record, message):
    path = tmp_path / "last.pt"
    torch.save(record, path)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(path)
    with pytest.raises(ValueError, match=message):
        make(probes=()).resume(path)
    assert capsys.readouterr().out == ""


def test_the_best_checkpoint_is_that_of_the_best_test_accuracy(tmp_path):
    trainer = make(run_dir=tmp_path, probes=(), lr=1.0)
    trainer.fit(4)
    rows = trainer.member.state.rows
    best = max(rows, key=lambda row: row["test_accuracy"])
    assert load_checkpoint(tmp_path / "checkpoints" / "best.pt")["rows"][-1] == best
    model = lt.load_run(tmp_path, network(), name="best")
    with torch.no_grad():
        right = model(TEST[0]).argmax(1) == TEST[1]
    assert right.double().mean().item() == pytest.approx(best["test_accuracy"])
