"""The experiment stable_step: the edge against the explicit kernel, and on both sides of it."""

import pytest
import torch

import lazytorch as lt
from lazytorch import data
from lazytorch.runs import RunDirectory

SMALL = ["experiment=stable_step", "data.train_size=20", "model.width=16", "shares=[0.9,1.1]", "steps=60"]


def test_the_edge_is_that_of_the_kernel_and_is_sharp(lazytorch):
    code, out, err = lazytorch(*SMALL, "seed=2")
    assert code == 0 and "held: every step below" in err, err
    run = RunDirectory(out[-1])
    images, _ = data.load("digits", train_size=20, test_size=10, seed=2)
    mean, std = data.channel_statistics(images.images)
    x = (images.images.double() / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.manual_seed(2)
    net = lt.models.mlp(width=16, channels=1, size=8, activation="tanh").double()
    kernel = lt.empirical_ntk(net, x).transpose(1, 2).reshape(200, 200)
    assert run.summary["edge"] == pytest.approx(200 / torch.linalg.eigvalsh(kernel)[-1].item(), rel=1e-6)
    below, above = run.table("losses")
    assert below["growth"] < 1 < above["growth"] and below["start"] == 0.1
