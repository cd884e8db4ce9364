"""A long sum that goes on where it was killed."""

import pytest
import torch

from lazytorch.experiments.accumulation import accumulate

PARTS = [0.1, 0.7, 1 / 3, 1e-9]


class Killed(Exception):
    pass


class Sum:
    def __init__(self, stop=None):
        self.total, self.added, self.stop = torch.zeros(2, dtype=torch.float64), [], stop

    def add(self, part):
        if part == self.stop:
            raise Killed
        self.total.add_(part)
        self.added.append(part)


def test_goes_on_after_the_last_part_that_was_written(tmp_path):
    path, whole = tmp_path / "checkpoints" / "sum.pt", Sum()
    accumulate(whole.total, PARTS, whole.add, path, 1e9, "parts")
    assert whole.added == PARTS and not path.exists()
    killed = Sum(stop=PARTS[2])
    with pytest.raises(Killed):
        accumulate(killed.total, PARTS, killed.add, path, 0, "parts")
    again = Sum()
    accumulate(again.total, PARTS, again.add, path, 1e9, "parts")
    assert again.added == PARTS[2:] and torch.equal(again.total, whole.total)


def test_a_damaged_file_and_another_sums_are_refused(tmp_path):
    path, one = tmp_path / "sum.pt", Sum()
    accumulate(one.total, PARTS, one.add, path, 0, "parts")
    with pytest.raises(ValueError, match="of another sum: delete it"):
        accumulate(torch.zeros(3), PARTS, one.add, path, 0, "parts")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged: delete it"):
        accumulate(one.total, PARTS, one.add, path, 0, "parts")
