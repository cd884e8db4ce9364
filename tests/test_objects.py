"""What the wrapped model promises beside its outputs: quiet warnings, a checked alpha, and the meaning of theta."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

import lazytorch as lt


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.BatchNorm1d(6), nn.Linear(6, 2)).double().eval()
    return net, torch.randn(5, 3, dtype=torch.float64)


def randomise(model):
    torch.manual_seed(1)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model


MAKERS = {
    "divided": lambda net: lt.CenteredModel(net, 10.0),
    "direct": lambda net: lt.CenteredModel(net, 10.0, difference="direct"),
    "linearized": lt.linearize,
}


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("alpha", (-3, 0.0, math.nan, 1e31, "7", None, True))
def test_alpha_is_checked_on_assignment(make, alpha):
    model = MAKERS[make](network()[0])
    before = model.alpha, model.epsilon
    with pytest.raises((ValueError, TypeError), match="alpha"):
        model.alpha = alpha
    assert (model.alpha, model.epsilon) == before


def test_an_assigned_alpha_is_the_alpha_of_the_model():
    net, x = network()
    model = randomise(lt.CenteredModel(net, 10.0))
    for alpha in (2, 300.0, math.inf, 1e7):
        model.alpha = alpha
        assert (model.alpha, model.epsilon) == (alpha, 1 / alpha) and isinstance(model.alpha, float)
        torch.testing.assert_close(model(x), randomise(lt.CenteredModel(net, alpha))(x), rtol=0, atol=0)
    direct = lt.CenteredModel(net, 10.0, difference="direct")
    direct.alpha = 20.0
    torch.testing.assert_close(randomise(direct)(x), randomise(lt.CenteredModel(net, 20.0))(x))


def test_an_alpha_that_the_model_has_no_form_for_is_refused():
    net, _ = network()
    direct, linear = lt.CenteredModel(net, 10.0, difference="direct"), lt.linearize(net)
    with pytest.raises(ValueError, match=r"direct.*inf.*divided"):
        direct.alpha = math.inf
    with pytest.raises(ValueError, match=r"alpha = inf, not 10.*CenteredModel"):
        linear.alpha = 10.0
    linear.alpha = math.inf
    assert direct.alpha == 10.0


@pytest.mark.parametrize("make", (lt.linearize, lambda net: lt.CenteredModel(net, math.inf)))
def test_theta_at_infinite_alpha_is_a_direction_that_displaces_nothing(make):
    """The limit of alpha (w - w_0): the outputs are those of finite alpha in the limit, the weights are w_0."""
    net, x = network()
    model = randomise(make(net))
    finite = randomise(lt.CenteredModel(net, 1e8))
    torch.testing.assert_close(model(x), finite(x), rtol=1e-6, atol=1e-6)
    assert model.theta_norm() > 1 and finite.displacement() > 0
    for weights in (model.weights(), model.initial_weights()):
        torch.testing.assert_close(weights, dict(net.named_parameters()), rtol=0, atol=0)
    assert model.displacement() == 0 and set(model.displacement_by_module().values()) == {0.0}
    torch.testing.assert_close(model.to_module()(x), net(x), rtol=0, atol=0)


FIRST_CALLS = {
    "linearize": "lazytorch.linearize(net)(x)",
    "an operator without rule": "lazytorch.CenteredModel(Odd(3, 2), torch.inf)(x)",
}


@pytest.mark.parametrize("what", FIRST_CALLS)
def test_a_first_call_warns_of_nothing(what):
    script = f"""
import torch, lazytorch
class Odd(torch.nn.Linear):
    def forward(self, x):
        return torch.lgamma(super().forward(x))
net, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
{FIRST_CALLS[what]}
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
