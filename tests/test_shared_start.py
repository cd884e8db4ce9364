"""Models that share the pass at w_0 give what each gives alone."""

import copy
import math

import pytest
import torch
from torch import nn

import lazytorch as lt

ALPHAS = (1.0, 100.0, 1e7, math.inf, 0.5)


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(36, 3),
    )
    return net.double()


def models():
    return [lt.CenteredModel(network(), alpha) for alpha in ALPHAS]


def train(model, outputs, optimizer):
    optimizer.zero_grad()
    (outputs - 1).square().mean().backward()
    optimizer.step()


def test_training_together_is_training_alone():
    together, alone = models(), models()
    start = lt.SharedStart(together)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9) for model in (*together, *alone)]
    batches = torch.randn(5, 7, 2, 8, 8, dtype=torch.float64)
    torch.manual_seed(1)
    for x in batches:
        for model, outputs, optimizer in zip(together, start(x), optimizers, strict=False):
            train(model, outputs, optimizer)
    for model, optimizer in zip(alone, optimizers[len(ALPHAS) :], strict=True):
        torch.manual_seed(1)  # the same dropout masks
        for x in batches:
            train(model, model(x), optimizer)
    for model, other in zip(together, alone, strict=True):
        assert model.theta_norm() > 0
        torch.testing.assert_close(model.state_dict(), other.state_dict(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(model.eval()(batches[0]), other.eval()(batches[0]), rtol=1e-12, atol=1e-12)


def test_the_start_is_computed_once():
    calls = []

    @torch.library.custom_op("lazytorch_test::counted", mutates_args=())
    def counted(x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return x.clone()

    counted.register_fake(torch.empty_like)
    lt.rule(torch.ops.lazytorch_test.counted)(lambda epsilon, out, x: x.difference)

    class Net(nn.Linear):
        def forward(self, x):
            return torch.ops.lazytorch_test.counted(super().forward(x))

    net = Net(3, 2)
    start = lt.SharedStart([lt.CenteredModel(net, alpha) for alpha in ALPHAS])
    assert len(list(start(torch.randn(4, 3)))) == len(ALPHAS)
    assert len(calls) == 1


class Counting(nn.Linear):
    """Counts its calls in a buffer, and changes its input."""

    def __init__(self):
        super().__init__(3, 2)
        self.register_buffer("calls", torch.tensor(1))

    def forward(self, x):
        y = super().forward(x) * self.calls
        self.calls += 1
        x.mul_(3)
        return y + super().forward(x).tanh()


@pytest.mark.parametrize("alpha", (0.5, 2.0))
def test_what_a_module_overwrites_is_found_unchanged_by_every_model(alpha):
    together = [lt.CenteredModel(Counting(), alpha)]
    together += [copy.deepcopy(together[0]) for _ in range(2)]
    for model in together:
        nn.init.ones_(model.theta["weight"])
    x = torch.randn(4, 3)
    changed = 3 * x
    outputs = list(lt.SharedStart(together)(x))
    assert outputs[0].any() and torch.equal(x, changed)
    assert together[0].initial_buffers()["calls"] == 2
    torch.testing.assert_close(outputs, outputs[:1] * 3)


def test_models_of_different_starts_are_refused():
    other = network()
    with torch.no_grad():
        other[0].weight[0, 0, 0, 0] += 1e-9
    moved = copy.deepcopy(network())
    moved[1].running_mean += 1
    for net in (other, moved, network().eval(), network().float(), nn.Linear(3, 2)):
        with pytest.raises(ValueError, match="one module"):
            lt.SharedStart([lt.CenteredModel(network(), 1.0), lt.CenteredModel(net, 10.0)])
    with pytest.raises(ValueError, match="one module"):
        lt.SharedStart([lt.CenteredModel(network(), 1.0), lt.CenteredModel(network(), 10.0, difference="direct")])


def test_models_that_differ_in_a_plain_attribute_are_refused():
    """The slope of a LeakyReLU is no parameter: the pass at w_0 of one is not the other's."""
    weights = nn.Linear(3, 2).state_dict()
    both = []
    for slope in (0.1, 0.2):
        net = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(slope))
        net[0].load_state_dict(weights)
        both.append(lt.CenteredModel(net, 1.0))
    with pytest.raises(ValueError, match="one module"):
        lt.SharedStart(both)
