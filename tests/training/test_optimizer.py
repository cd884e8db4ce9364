"""The optimizer in one kernel does what plain SGD does, however the weights lie in memory, and keeps no gradient."""

import copy

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.training.optimizer import make_optimizer
from lazytorch.training.settings import Settings

from .problems import TEST, TRAIN, network

SETTINGS = Settings(lr=0.1, momentum=0.9)


def transposed(weight):
    return weight.t().contiguous().t()


def with_gaps(weight):
    return torch.stack([weight, weight], -1)[..., 0]


def in_channels_last(weight):
    return weight.to(memory_format=torch.channels_last)


def one_value(weight):
    return weight[:1, :1].expand_as(weight)


def lying(net, layer, layout):
    layer.weight = nn.Parameter(layout(layer.weight.detach()))
    return net


def dense(layout):
    layer = nn.Linear(6, 5)
    return lying(nn.Sequential(layer, nn.Tanh(), nn.Linear(5, 3)), layer, layout)


def convolutional(layout):
    layer = nn.Conv2d(2, 4, (1, 3))
    return lying(nn.Sequential(nn.Unflatten(1, (2, 1, 3)), layer, nn.Flatten(), nn.Linear(4, 3)), layer, layout)


@pytest.mark.parametrize(
    "build",
    (
        lambda: dense(transposed),
        lambda: dense(with_gaps),
        lambda: dense(one_value),
        lambda: convolutional(in_channels_last),
        lambda: convolutional(with_gaps),
    ),
    ids=("transposed", "with gaps", "expanded", "channels last", "convolution with gaps"),
)
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_one_kernel_does_what_plain_sgd_does(build, dtype):
    torch.manual_seed(0)
    model = lt.CenteredModel(build().to(dtype), 10.0)
    plain = copy.deepcopy(model)
    optimizers = make_optimizer(model, SETTINGS), torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    assert optimizers[0].defaults["fused"] and not optimizers[1].defaults["fused"]
    for _ in range(4):
        x, y = torch.randn(7, 6, dtype=dtype), torch.randn(7, 3, dtype=dtype)
        for net, optimizer in zip((model, plain), optimizers, strict=True):
            optimizer.zero_grad()
            (net(x) - y).square().sum().backward()
            optimizer.step()
    for name, theta in plain.theta.items():
        torch.testing.assert_close(model.theta[name], theta, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0)


def test_complex_weights_have_plain_sgd():
    model = lt.CenteredModel(nn.Linear(2, 2, dtype=torch.complex64), 1.0)
    assert not make_optimizer(model, SETTINGS).defaults["fused"]


def test_sparse_gradients_have_plain_sgd():
    net = nn.Sequential(nn.Embedding(10, 8, sparse=True), nn.Flatten(), nn.Linear(16, 3))
    tokens, labels = torch.randint(0, 10, (20, 2)), torch.arange(20) % 3
    trainer = lt.Trainer(lt.CenteredModel(net, 10.0), (tokens, labels), (tokens, labels), probes=[], lr=0.1)
    assert trainer.fit(1)["status"] == "finished" and trainer.model.theta_norm() > 0


def test_no_gradient_is_kept_after_a_step():
    trainer = lt.Trainer(lt.CenteredModel(network(), 10.0), TRAIN, TEST, probes=[])
    trainer.fit(1)
    assert trainer.model.theta_norm() > 0 and all(theta.grad is None for theta in trainer.model.parameters())
