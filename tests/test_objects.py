"""What the wrapped model promises beside its outputs: quiet warnings, a checked alpha, and the meaning of theta."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import lazytorch as lt
from lazytorch.differences import jumps, reading


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


FIRST_CALLS = (
    "lazytorch.linearize(net)(x)",
    "lazytorch.CenteredModel(Odd(3, 2), torch.inf)(x)",  # an operator without rule
)


def test_a_first_call_warns_of_nothing():
    """Each call is the first of its process: what warns once has not done so yet."""
    script = f"""
import os, sys
import torch, lazytorch
class Odd(torch.nn.Linear):
    def forward(self, x):
        return torch.special.erfcx(super().forward(x))
torch.set_num_threads(1)
net, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
for call in {FIRST_CALLS}:
    child = os.fork()
    if not child:
        exec(call)
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
"""
    quiet = ["-W", "error", "-W", "ignore:Implicitly cleaning up:ResourceWarning"]  # a folder of torch 2.6, at its end
    result = subprocess.run([sys.executable, *quiet, "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


class Masked(nn.Linear):
    """Scores of which all but two are masked."""

    def forward(self, x):
        scores = super().forward(x)
        values, index = scores.topk(2)
        return torch.full_like(scores, -torch.inf).scatter(1, index, values).softmax(1)


def masked(alpha):
    torch.manual_seed(0)
    return randomise(lt.CenteredModel(Masked(3, 4).double(), alpha)), torch.randn(20, 3, dtype=torch.float64)


@pytest.fixture
def device_that_must_not_be_asked(monkeypatch):
    """The CPU, taken for a device on which reading a value waits."""
    monkeypatch.setattr(reading, "answers_at_once", lambda device: False)
    monkeypatch.setattr(jumps, "_lost", {})


@pytest.mark.parametrize("mode", (torch.enable_grad, torch.inference_mode))
def test_a_lost_jump_on_a_device_is_the_error_of_the_cpu(mode, device_that_must_not_be_asked, monkeypatch):
    model, x = masked(2.0)
    with mode():
        assert model(x).isnan().any()
    with torch.no_grad():
        model(x)
    with pytest.raises(lt.UnsupportedOperator) as late:
        jumps.check_lost("cpu")
    jumps.check_lost(torch.device("cpu"))  # once told, it is forgotten
    monkeypatch.undo()
    with pytest.raises(lt.UnsupportedOperator) as at_once:
        model(x)
    assert str(at_once.value).endswith(str(late.value)) and "huge" in str(late.value)


def test_what_is_not_lost_raises_nothing(device_that_must_not_be_asked):
    model, x = masked(1e12)  # at w_0 and w the same are chosen
    assert model(x).isfinite().all()
    jumps.check_lost("cpu")
    jumps.check_lost("cuda:0")


class Operators(TorchDispatchMode):
    """The operators that run in its context."""

    def __enter__(self):
        self.seen = set()
        return super().__enter__()

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.seen.add(operator)
        return operator(*args, **(kwargs or {}))


def test_a_lost_jump_is_noted_without_reading_a_value(device_that_must_not_be_asked):
    reads = torch.ops.aten._local_scalar_dense.default
    with Operators() as noting:
        lost = jumps.chosen_jump(1.0, torch.tensor([torch.inf, 1.0]), torch.ones(2))
    assert lost.isnan().tolist() == [True, False] and reads not in noting.seen
    with pytest.raises(lt.UnsupportedOperator), Operators() as checking:
        jumps.check_lost("cpu")
    assert reads in checking.seen


def test_fake_tensors_leave_no_flag_behind(device_that_must_not_be_asked):
    with FakeTensorMode():
        jumps.chosen_jump(1.0, torch.empty(2), torch.empty(2))
    assert not jumps._lost
