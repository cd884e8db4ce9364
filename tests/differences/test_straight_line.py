"""The code that a trace runs as: what it keeps, which kinds of it there are, and names that its own could meet."""

import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import lazytorch as lt


class Alive(TorchDispatchMode):
    """The largest number of tensors that operators have returned and that are still there."""

    def __init__(self):
        super().__init__()
        self.returned, self.most = [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, Tensor):
            self.returned.append(weakref.ref(out))
        self.most = max(self.most, sum(t() is not None for t in self.returned))
        return out


@pytest.mark.parametrize("alpha", [0.5, 100.0, torch.inf])
def test_values_are_dropped_after_their_last_use(alpha):
    def most(layers):
        model = lt.CenteredModel(nn.Sequential(nn.Linear(4, 4), *(nn.Tanh() for _ in range(layers))), alpha)
        x = torch.randn(2, 4)
        with torch.no_grad():
            model(x)
            with Alive() as alive:
                model(x)
        return alive.most

    assert most(40) == most(10)


class Named(nn.Module):
    """Its parts are called as things in the code are."""

    def __init__(self):
        super().__init__()
        self.epsilon, self.record, self.observe = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
        self.primal, self.relu_0 = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))

    def forward(self, relu_0, addmm_0):
        h = torch.relu(self.epsilon(relu_0) * self.relu_0)
        return self.observe(torch.relu(self.record(h) + addmm_0)) * self.primal


def randomised(net, alpha):
    model = lt.CenteredModel(net, alpha)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model


def test_names_do_not_meet():
    torch.manual_seed(0)
    net, inputs = Named().double(), torch.randn(2, 4, 3, dtype=torch.float64)
    model = randomised(net, 10.0)
    torch.testing.assert_close(model(*inputs), 10 * (model.to_module()(*inputs) - net(*inputs)))


def test_one_model_takes_every_alpha_and_is_observed_and_recorded_in_between():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double(), torch.randn(5, 3, dtype=torch.float64)
    model = randomised(net, 1.0)

    def check(output):
        if model.alpha < torch.inf:
            expected = model.alpha * (model.to_module()(x) - net(x))
        else:
            weights, theta = dict(net.named_parameters()), model.theta()
            expected = torch.func.jvp(lambda w: torch.func.functional_call(net, w, x), (weights,), (theta,))[1]
        torch.testing.assert_close(output, expected)

    seen = []
    for alpha in (100.0, torch.inf, 0.5, 100.0, 0.5, torch.inf, 30.0):
        model.alpha = alpha
        check(model(x))
        with model.observing(lambda name, start, final: seen.append(name)):
            check(model(x))
        record = {}
        check(model.forward_recorded(record, x))
        assert record
    assert len(seen) == 7
    (program,) = model._traces
    assert len(program._codes) == 6  # with rules and at both ends; each of them as it is, observed, and recorded
