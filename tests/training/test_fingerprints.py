"""What tells networks and losses apart, and does not change otherwise."""

import copy
import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lazytorch.training.fingerprints import loss_fingerprint, network_fingerprint
from lazytorch.training.objective import cross_entropy, mse

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
LABELS, OUTPUTS = torch.arange(5) % 3, torch.zeros(5, 3)


class Net(nn.Module):
    def __init__(self, activation=F.gelu, rate=0.5):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.drop, self.last = nn.Linear(6, 8), nn.Dropout(rate), nn.Linear(8, 3)
        self.register_buffer("shift", torch.zeros(8))
        self.activation = activation

    def forward(self, x):
        return self.last(self.drop(self.activation(self.first(x) + self.shift)))


def test_the_same_weights_with_another_activation_are_another_network():
    assert network_fingerprint(Net(), X) == network_fingerprint(Net(), X)
    assert network_fingerprint(Net(), X) != network_fingerprint(Net(torch.tanh), X)


def edited(change):
    net = Net()
    with torch.no_grad():
        change(net)
    return net


@pytest.mark.parametrize(
    "other",
    [
        edited(lambda net: net.first.weight[0, 0].add_(1e-6)),
        edited(lambda net: net.shift[3].add_(1e-6)),
        Net(rate=0.4),  # which evaluation mode does not show
        Net().double(),
    ],
)
def test_weights_buffers_settings_and_types_count(other):
    assert network_fingerprint(Net(), X) != network_fingerprint(other, X)


@pytest.mark.parametrize("layer", ("first", "last"))
def test_networks_that_are_equal_at_w0_alone_are_others(layer):
    """A layer that starts at 0 hides the activation."""
    zero = [edited(lambda net: [p.zero_() for p in getattr(net, layer).parameters()]) for _ in range(2)]
    for net, activation in zip(zero, (torch.tanh, torch.sin), strict=True):
        net.activation = activation
        net.eval()
    assert torch.equal(zero[0](X), zero[1](X))
    assert network_fingerprint(zero[0], X) != network_fingerprint(zero[1], X)


def test_nothing_is_changed():
    net = Net().train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    network_fingerprint(net, X)
    assert net.training and torch.equal(state, torch.get_rng_state())
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


class Single(nn.Linear):
    def forward(self, x):
        return F.linear(x.float(), self.weight, self.bias)


def test_a_network_that_refuses_float64_has_one_too():
    torch.manual_seed(0)
    net = Single(6, 3)
    other = Single(6, 3)
    other.load_state_dict(net.state_dict())
    assert network_fingerprint(net, X) == network_fingerprint(other, X)


def test_a_loss_is_told_by_its_values():
    mine = [lambda outputs, y, c=c: mse(outputs, y) + c * outputs.square().mean() for c in (0.0, 0.1, 0.1)]
    prints = [loss_fingerprint(loss, LABELS, OUTPUTS) for loss in (mse, cross_entropy, *mine)]
    assert prints[0] == prints[2] and prints[3] == prints[4] and len(set(prints)) == 3


def test_a_loss_with_tensors_of_its_own_has_one():
    weights = torch.tensor([1.0, 2.0, 3.0])
    weighted = [nn.CrossEntropyLoss(weight=w) for w in (weights, weights, weights.flip(0))]
    prints = [loss_fingerprint(loss, LABELS, OUTPUTS) for loss in weighted]
    assert prints[0] == prints[1] != prints[2]


SCRIPT = """
import torch
from lazytorch.models import vgg11
from lazytorch.training.fingerprints import loss_fingerprint, network_fingerprint
from lazytorch.training.objective import mse
torch.set_num_threads(3)
torch.manual_seed(0)
net, x = vgg11(width=0.25), torch.rand(3, 3, 32, 32)
print(network_fingerprint(net, x), loss_fingerprint(mse, torch.arange(3), torch.zeros(3, 10)))
"""


def test_equal_in_another_process_with_another_number_of_threads(capsys):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("OMP_NUM_THREADS", None)
    there = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, env=environment)
    threads = torch.get_num_threads()
    exec(SCRIPT.replace("set_num_threads(3)", "set_num_threads(1)"), {})
    torch.set_num_threads(threads)
    here = capsys.readouterr().out
    assert here == there.stdout and len(here.split()) == 2


def test_a_loss_that_differs_far_out_is_another():
    """Within [-1, 1] these two are equal."""

    def clipped(outputs, labels):
        return mse(outputs.clamp(-1, 1), labels)

    labels, outputs = torch.arange(4) % 3, torch.zeros(4, 3)
    assert loss_fingerprint(mse, labels, outputs) != loss_fingerprint(clipped, labels, outputs)


def test_the_network_is_the_same_on_other_data():
    assert network_fingerprint(Net(), X) == network_fingerprint(Net(), X + 1)


class Addressed(torch.nn.Linear):
    """Its description is another in every process."""

    def extra_repr(self):
        return f"id={id(self)}"


def test_what_a_module_prints_does_not_count():
    torch.manual_seed(0)
    net = Addressed(6, 3)
    assert network_fingerprint(net, X) == network_fingerprint(copy.deepcopy(net), X)
