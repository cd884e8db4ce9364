"""The crossover of known drifts, and the drift of a training against one by plain autograd in float64."""

import math

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from lazytorch.theory import TrainingDrift, crossover


@pytest.mark.parametrize("threshold, power", [(0.5, 1), (2.0, 2), (1e-3, 1)])
def test_the_crossover_of_a_power_law(threshold, power):
    found = crossover(lambda alpha: (0.03 / alpha) ** power, threshold, tolerance=1e-3)
    assert found == pytest.approx(0.03 * threshold ** (-1 / power), rel=1e-3)


@pytest.mark.parametrize("start", (1e-4, 0.1, 0.11, 1e3))
def test_it_does_not_depend_on_the_start_and_costs_what_it_says(start):
    asked = []

    def drift(alpha):
        asked.append(alpha)
        return math.inf if alpha < 0.1 else 0.0

    found = crossover(drift, start=start, tolerance=0.05)
    assert found == pytest.approx(0.1, rel=0.05) and len(set(asked)) == len(asked)
    assert len(asked) <= 8 + abs(math.log(start / 0.1, 4))


@pytest.mark.parametrize("drift", (0.1, 10.0, math.nan))
def test_a_drift_that_does_not_pass_the_threshold(drift):
    with pytest.raises(ValueError, match="is nan" if math.isnan(drift) else "does not pass 0.5 between"):
        crossover(lambda alpha: drift)


class Scaled(nn.Module):
    """A network times a number."""

    def __init__(self, net, factor):
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x):
        return self.factor * self.net(x)


@pytest.fixture
def setting():
    """A network, inputs, targets and a probe, in float64."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    return net, *(torch.randn(*shape, dtype=torch.float64) for shape in ((6, 3), (6, 2), (4, 3)))


def kernel(net, w, x):
    jacobian = jacrev(lambda w: functional_call(net, w, (x,)).flatten())(w)
    jacobian = torch.cat([j.flatten(1) for j in jacobian.values()], 1)
    return jacobian @ jacobian.T


def test_the_drift_is_that_of_heavy_ball_descent_on_w(setting):
    net, x, y, probe = setting
    alpha, share, step = 0.7, 0.3, 0.2
    start = {name: w.detach().clone() for name, w in net.named_parameters()}
    outputs = net(x).detach()
    lr = step * 1.9 * y.numel() / torch.linalg.eigvalsh(kernel(net, start, x))[-1] / alpha**2  # on w

    def loss(w):
        return (alpha * (functional_call(net, w, (x,)) - outputs) - y).square().mean()

    w, velocity = dict(start), {name: torch.zeros_like(w) for name, w in start.items()}
    while loss(w) > share * y.square().mean():
        gradient = torch.func.grad(loss)(w)
        velocity = {name: 0.9 * v + gradient[name] for name, v in velocity.items()}
        w = {name: t - lr * velocity[name] for name, t in w.items()}
    first, last = kernel(net, start, probe), kernel(net, w, probe)
    expected = ((last - first).norm() / first.norm()).item()
    assert expected > 0.05
    assert TrainingDrift(net, x, y, probe, share, step)(alpha) == pytest.approx(expected, rel=1e-6)


def test_a_factor_of_the_outputs_is_one_of_alpha(setting):
    net, x, y, probe = setting
    times = TrainingDrift(Scaled(net, 4.0), x, y, probe)
    once = TrainingDrift(net, x, y, probe)
    assert times(0.5) == pytest.approx(once(2.0), rel=1e-9) and times(0.5) != pytest.approx(once(0.5), rel=0.1)


def test_a_training_that_diverges_has_drifted_infinitely(setting):
    assert TrainingDrift(*setting, step=5.0)(100.0) == math.inf


def test_a_training_that_does_not_end(setting):
    with pytest.raises(ValueError, match=r"at alpha = 10 the loss is .* after 3 steps, above .*: give more steps"):
        TrainingDrift(*setting, share=1e-6, steps=3)(10.0)


def test_precisions_agree(setting):
    net, x, y, probe = setting
    single = TrainingDrift(net.float(), x.float(), y.float(), probe.float())
    assert single(3.0) == pytest.approx(TrainingDrift(net.double(), x, y, probe)(3.0), rel=1e-3)
