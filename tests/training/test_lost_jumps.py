"""What a device cannot say at once, it says before the run is called diverged."""

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.differences import jumps, reading
from lazytorch.training import fit_together

from .problems import make


class Masking(nn.Linear):
    """Drops its smallest output, which becomes another one on the way: huge at one end, moderate at the other."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(6, 3)

    def forward(self, x):
        scores = super().forward(x)
        return scores.masked_fill(scores == scores.amin(1, keepdim=True), -1e9).softmax(1)


@pytest.fixture
def device_that_waits(monkeypatch):
    """The CPU as a device that cannot be asked at once."""
    monkeypatch.setattr(reading, "answers_at_once", lambda device: False)
    yield
    monkeypatch.undo()
    jumps._lost.clear()


def test_the_cpu_says_it_at_once():
    with pytest.raises(lt.UnsupportedOperator, match="instead of masking"):
        make(alpha=2.0, net=Masking(), lr=12.0, probes=()).fit(20)


@pytest.mark.parametrize("together", (False, True))
def test_a_loss_that_a_masking_made_nan_is_no_divergence(device_that_waits, together):
    trainers = [make(alpha=2.0, net=Masking(), lr=12.0, probes=())] + [make(probes=())] * together
    with pytest.raises(lt.UnsupportedOperator, match="instead of masking"):
        fit_together(trainers, 20)


def test_a_loss_that_the_evaluation_sees_become_nan_is_none_either(device_that_waits):
    """The whole set is one batch: the step that flips the first mask is followed by the evaluation."""
    trainer = make(alpha=2.0, net=Masking(), lr=12.0, batch_size=61, momentum=0.0, probes=())
    with pytest.raises(lt.UnsupportedOperator, match="instead of masking"):
        trainer.fit(50)


def test_what_was_lost_before_is_no_matter_of_a_run_that_diverges(device_that_waits):
    jumps._lost[torch.device("cpu")] = torch.tensor(True)
    assert make(lr=1e30, probes=()).fit(1)["status"] == "diverged"
