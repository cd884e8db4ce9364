"""What surrounds a call is as it was afterwards: grad mode, generators, the module's modes and buffers."""

import random

import numpy as np
import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.kernels import Jacobian, kernel_operator, plan_ntk

from .networks import build, force, norms, own_parameters, recurrent, transformer


class Counting(nn.Module):
    """Has a part in either mode, and buffers that every pass changes."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.dropout = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("last", torch.zeros(4), persistent=False)
        self.norm.eval()
        self.dropout.eval()

    def forward(self, x):
        self.passes += 1
        x = self.norm(self.linear(x))
        self.last = x.detach().mean(0)
        return self.frozen(self.dropout(x))


class Random(nn.Linear):
    def forward(self, x):
        return super().forward(x) + torch.rand(len(x), 1)


class RandomInside(nn.Linear):
    """Its outputs do not depend on what it draws."""

    def forward(self, x):
        return super().forward(x) + 0 * torch.rand(())


CALLS = {
    "kernel": lt.empirical_ntk,
    "plan": plan_ntk,
    "operator": lambda net, x: kernel_operator(net, x) @ np.ones(len(x) * net(x)[0].numel()),
}


@pytest.mark.parametrize("make", (norms, transformer, recurrent, own_parameters, force), ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", ("full", "trace"))
def test_no_grad_makes_no_difference(make, kind):
    net, x = build(make)
    expected = lt.empirical_ntk(net, x, kind=kind)
    with torch.no_grad():
        kernel = lt.empirical_ntk(net, x, kind=kind)
        assert not torch.is_grad_enabled()
    assert torch.is_grad_enabled() and torch.equal(kernel, expected) and not kernel.requires_grad


def states():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", (norms, recurrent, transformer), ids=lambda make: make.__name__)
def test_generators_are_left_as_they_were(make, call):
    net, x = build(make)
    before = states()
    CALLS[call](net, x)
    assert states() == before


@pytest.mark.parametrize("net", (Random(3, 2), RandomInside(3, 2)), ids=lambda net: type(net).__name__)
@pytest.mark.parametrize("call", (lt.empirical_ntk, plan_ntk, Jacobian))
def test_generators_are_left_as_they_were_where_a_random_network_is_refused(net, call):
    before = states()
    with pytest.raises(ValueError, match="draws random numbers"):
        call(net, torch.ones(4, 3))
    assert states() == before


@pytest.mark.parametrize("call", CALLS)
def test_modes_buffers_and_gradients_are_left_as_they_were(call):
    net = Counting()
    net.linear.weight.grad = torch.ones(4, 3)
    before = {name: tensor.clone() for name, tensor in (*net.named_parameters(), *net.named_buffers())}
    identities = {name: id(tensor) for name, tensor in (*net.named_parameters(), *net.named_buffers())}
    modes = {name: part.training for name, part in net.named_modules()}
    assert set(modes.values()) == {True, False}
    with torch.no_grad():
        if call == "operator":
            kernel_operator(net, torch.randn(5, 3)) @ np.ones(20)
        else:
            CALLS[call](net, torch.randn(5, 3))
    after = dict((*net.named_parameters(), *net.named_buffers()))
    assert {name: part.training for name, part in net.named_modules()} == modes
    assert {name: id(tensor) for name, tensor in after.items()} == identities
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert net.linear.weight.grad.eq(1).all() and net.linear.bias.grad is None
    assert [p.requires_grad for p in net.frozen.parameters()] == [False, False]
