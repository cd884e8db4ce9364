"""The trainer's records of full-batch runs against the closed form."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.runs import RunDirectory
from lazytorch.theory import LinearDynamics


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 4),
    )  # fmt: skip


@pytest.mark.parametrize(("momentum", "share"), [pytest.param(0.0, 0.9, marks=pytest.mark.slow), (0.9, 0.5)])
def test_the_linearized_model_follows_the_closed_form_step_for_step(tmp_path, momentum, share):
    net = network()
    generator = torch.Generator().manual_seed(1)
    x, test_x = (torch.randn(n, 1, 8, 8, generator=generator) for n in (60, 11))
    y, test_y = torch.arange(60) % 4, torch.arange(11) % 4
    weights = {name: parameter.double() for name, parameter in net.named_parameters()}
    kernel, test_kernel = lt.empirical_ntk(net, x, weights=weights), lt.empirical_ntk(net, test_x, x, weights=weights)
    dynamics = LinearDynamics(kernel, y, test_kernel, test_y)
    lr = share * dynamics.largest_stable_step(momentum)
    predicted = dynamics.descent(range(201), lr, momentum)

    model = lt.CenteredModel(net, math.inf)
    trainer = lt.Trainer(
        model, (x, y), (test_x, test_y), lr=lr, momentum=momentum, beta=0, batch_size=60, probes=(), run_dir=tmp_path
    )
    trainer.fit(200)
    rows = RunDirectory(tmp_path).metrics
    assert [row["epoch"] for row in rows] == list(range(201))
    for name, losses in (("train_loss", predicted.losses), ("test_loss", predicted.test_losses)):
        np.testing.assert_allclose([row[name] for row in rows], losses, rtol=1e-4)
    assert rows[-1]["train_loss"] < 0.5 * rows[0]["train_loss"]
    with torch.no_grad():
        for inputs, outputs in ((x, predicted.outputs[-1]), (test_x, predicted.test_outputs[-1])):
            assert (model(inputs) - outputs).norm() < 1e-4 * outputs.norm()
