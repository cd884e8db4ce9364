"""One training step, an evaluation and the probes on a stand-in accelerator; not a test itself.

Its arguments are faults to plant in the step, each in a process of its own, or "clean"; prints how each run ended,
as one JSON object a line.
"""

import os
import sys
import traceback
from functools import partial
from unittest import mock

import torch
from stand_in import DEVICE, FakeTensorMode, leave_with
from torch import nn

import lazytorch as lt
from lazytorch.data import DeviceData
from lazytorch.training.evaluation import evaluate
from lazytorch.training.step import _step


class Network(nn.Sequential):
    def __init__(self, fault):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(128, 10),
        )
        self.fault = fault

    def forward(self, x):
        if self.fault == "cpu tensor in the model":
            x = x + torch.zeros(3, 1, 1, device="cpu")
        return super().forward(x)


def loss_with(fault):
    def loss(outputs, labels):
        if fault == "cpu tensor in the loss":
            outputs = outputs + torch.ones(10, device="cpu")
        if fault == "hidden item":
            outputs = outputs * outputs.mean().item()
        return outputs.square().mean()

    return "mse" if fault == "clean" else loss


def run(fault: str) -> None:
    with FakeTensorMode(), torch.device(DEVICE):
        model = lt.CenteredModel(Network(fault), 1e7)
        images = torch.zeros(20, 3, 8, 8, dtype=torch.uint8, device="cpu")
        labels = torch.zeros(20, dtype=torch.int64, device="cpu")
        options = {"device": DEVICE, "mean": (0.5,) * 3, "std": (0.2,) * 3}
        # Setting up, evaluating and measuring end in a reading; the step must not.
        with reading_allowed(), mock.patch("lazytorch.training.trainer._fingerprints", lambda *_: {}):
            train = DeviceData(images, labels, augment="crop_flip", **options)
            test = DeviceData(images, labels, **options)
            trainer = lt.Trainer(model, train, test, loss=loss_with(fault), batch_size=8, probe_size=4)
        member = trainer.member
        for x, y in train.epoch(8, seed=0, epoch=0):
            _step(member, partial(model, x), y)
        assert all(t.device.type == DEVICE for t in (*model.parameters(), *model.buffers(), member.state.totals))
        with reading_allowed():
            evaluate([member], "test")
            for probe in member.probes:
                probe(model)


def reading_allowed():
    number = lambda tensor, *_: 0.5  # noqa: E731
    patches = {
        "item": number,
        "__bool__": lambda t: True,
        "__int__": lambda t: 1,
        "__float__": number,
        "tolist": lambda t: [0.5] * t.numel(),
    }
    return mock.patch.multiple(torch.Tensor, **patches)


def end_of_run(fault: str) -> str:
    try:
        run(fault)
    except Exception:
        return traceback.format_exc()
    return f"all on {DEVICE}"


if __name__ == "__main__":
    for fault in sys.argv[1:]:  # forked, as a fault can leave the stand-in in a state that crashes
        if os.fork() == 0:
            leave_with({fault: end_of_run(fault)})
        os.wait()
