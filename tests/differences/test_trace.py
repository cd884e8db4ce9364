"""Modules that are hard to trace: stopped gradients, outputs of every type, state kept on the way, and refusals."""

import copy
import math
import random

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import lazytorch as lt


def randomise(model, seed=1):
    torch.manual_seed(seed)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model


@torch.no_grad()
def _without_gradient(layer, h):
    return torch.tanh(layer(h))


def _noisy(layer, h):
    with torch.no_grad():
        step = torch.arange(3.0, dtype=h.dtype).cos()
        with torch.enable_grad():
            kept = layer(h)
        lost = layer(h) * 2
    return kept * step + lost


STOPPED = {
    "detach": lambda layer, h: h.detach() + h,
    "straight through": lambda layer, h: h + (h.sign() - h).detach(),
    "no_grad": _without_gradient,
    "enable_grad within no_grad": _noisy,
    "gumbel": lambda layer, h: F.gumbel_softmax(h, hard=True),
}


class Stopped(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.first, self.second, self.how = nn.Linear(3, 3), nn.Linear(3, 3), how

    def forward(self, x):
        return self.second(self.how(self.second, torch.tanh(self.first(x))))


@pytest.mark.parametrize("how", STOPPED)
def test_stopped_gradients_are_stopped(how):
    torch.manual_seed(0)
    model = randomise(lt.CenteredModel(Stopped(STOPPED[how]).double(), 10.0))
    direct = lt.CenteredModel(model.to_module(), 10.0, difference="direct")
    direct.load_state_dict(model.state_dict())
    x, results = torch.randn(20, 3, dtype=torch.float64), []
    for one in (model, direct):
        torch.manual_seed(1)
        output = one(x)
        gradients = torch.autograd.grad(output.square().sum(), list(one.theta.values()), allow_unused=True)
        results.append([output] + [gradient for gradient in gradients if gradient is not None])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


class PythonRandom(nn.Linear):
    def forward(self, x):
        return super().forward(x) * random.random()


class NumpyRandom(nn.Linear):
    def forward(self, x):
        return super().forward(x) * numpy.random.rand()


class Data(nn.Linear):
    def forward(self, x):
        return super().forward(x).data + self.bias


class Branching(nn.Linear):
    def forward(self, x):
        return torch.cond(x.sum() > 0, torch.sin, torch.cos, (super().forward(x),))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (PythonRandom, "random numbers"),
        (NumpyRandom, "random numbers"),
        (Data, "detach"),
        (Branching, "uses cond"),
    ],
)
def test_what_a_trace_cannot_hold_is_refused_with_the_remedy(kind, message):
    numpy.random.rand()  # the first draw of all changes more of the generator's state than later ones
    with pytest.raises(lt.UntraceableModule, match=message) as caught:
        lt.CenteredModel(kind(3, 2), 10.0)(torch.randn(2, 5, 3))
    assert "direct" in str(caught.value)


class Attending(nn.Module):
    """Causal attention with a bias by distance, by flex_attention or by the mask that stands for it."""

    def __init__(self, flexibly):
        super().__init__()
        self.layer, self.flexibly = nn.Linear(8, 24), flexibly

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.layer(x).chunk(3, -1))
        n = x.shape[1]
        if self.flexibly:
            mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, n, n, device="cpu")
            return flex_attention(q, k, v, score_mod=lambda score, b, h, i, j: score + (i - j), block_mask=mask)
        distance = torch.arange(n).unsqueeze(1) - torch.arange(n)
        mask = distance.to(x.dtype).masked_fill(distance < 0, -torch.inf)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("alpha", (2.0, 1e7, math.inf))
def test_flexible_attention(alpha):
    torch.manual_seed(0)
    model = randomise(lt.CenteredModel(Attending(True).double(), alpha))
    plain = lt.CenteredModel(Attending(False).double(), alpha)
    plain.load_state_dict(model.state_dict())
    x, results = torch.randn(2, 5, 8, dtype=torch.float64), []
    for one in (model, plain):
        output = one(x)
        results.append((output, *torch.autograd.grad(output.square().sum(), list(one.theta.values()))))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-9)


def test_what_the_module_itself_raises_is_raised():
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as caught:
        lt.CenteredModel(nn.Linear(3, 2), 10.0)(torch.randn(2, 4))
    assert not isinstance(caught.value, lt.UntraceableModule)


class Several(nn.Linear):
    """Real, complex, integer and boolean outputs, one that is no tensor, and one that does not depend on theta."""

    def forward(self, x):
        y = super().forward(x)
        spectrum = torch.fft.fft(y.to(torch.complex128))
        return {
            "y": y,
            "spectrum": spectrum,
            "class": y.argmax(1),
            "on": y > 0,
            "none": None,
            "x": x.to(torch.complex128),
        }


@pytest.mark.parametrize("alpha", (2.0, math.inf))
def test_outputs_of_every_type(alpha):
    torch.manual_seed(0)
    net, x = Several(3, 4).double(), torch.randn(30, 3, dtype=torch.float64)
    model = randomise(lt.CenteredModel(net, alpha))
    output, end, start = model(x), model.to_module()(x), net(x)
    assert output["none"] is None and not output["x"].any()
    for name in ("class", "on"):
        assert torch.equal(output[name], end[name]) and (alpha == math.inf or not torch.equal(end[name], start[name]))
    torch.testing.assert_close(output["spectrum"], torch.fft.fft(output["y"].to(torch.complex128)))
    if alpha < math.inf:
        torch.testing.assert_close(output["spectrum"], alpha * (end["spectrum"] - start["spectrum"]))
        direct = lt.CenteredModel(net, alpha, difference="direct")
        direct.load_state_dict(model.state_dict())
        torch.testing.assert_close(direct(x), output)


class Statistic(nn.Linear):
    """A buffer that training makes depend on theta, and that an operator without rule reads in evaluation."""

    def __init__(self):
        super().__init__(3, 2)
        self.register_buffer("seen", torch.ones(2))

    def forward(self, x):
        y = super().forward(x)
        if self.training:
            self.seen.copy_(0.5 * self.seen + 0.5 * y.exp().mean(0))
            return y
        return y * torch.special.erfcx(self.seen)


def test_an_operator_that_comes_to_depend_on_theta_is_refused_then():
    model = randomise(lt.CenteredModel(Statistic(), 2.0))
    x = torch.randn(5, 3)
    model.eval()(x)
    model.train()(x)
    with pytest.raises(lt.UnsupportedOperator, match="aten.special_erfcx"):
        model.eval()(x)


class Careless(nn.Linear):
    """Changes its input in place, keeps a tensor, and counts its calls."""

    kept = None

    def __init__(self):
        super().__init__(3, 3)
        self.register_buffer("calls", torch.tensor(1))

    def forward(self, x):
        x.mul_(0.5)
        self.kept = self.weight * 2 if self.kept is None else self.kept
        self.calls += 1
        return F.linear(x, self.kept, self.bias) * self.calls


def test_direct_differences_of_careless_modules():
    torch.manual_seed(0)
    net, x = Careless().double(), torch.randn(5, 3, dtype=torch.float64)
    model = randomise(lt.CenteredModel(net, 4.0))
    direct = lt.CenteredModel(net, 4.0, difference="direct")
    direct.load_state_dict(model.state_dict())
    torch.testing.assert_close(direct(x.clone()), model(x.clone()))
    copy.deepcopy(direct), direct.to_module()


class Transposed(nn.Linear):
    def forward(self, x):
        return super().forward(x.transpose(0, 1))


def test_a_matrix_is_not_repeated_for_a_batch():
    """Torch repeats it where a batch is not contiguous and the matrix has no gradient, as in a trace."""
    net = Transposed(6, 5).double()
    x, model = torch.randn(4, 3, 6, dtype=torch.float64), randomise(lt.CenteredModel(net, 10.0))
    torch.testing.assert_close(model(x), 10 * (model.to_module()(x) - net(x)))
    (program,) = model._traces
    shapes = {tuple(node.meta["val"].shape) for node in program.nodes if "val" in node.meta}
    assert (12, 5) in shapes and (3, 6, 5) not in shapes
