"""The linearization of modules that torch's forward mode does not know, or knows otherwise."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from torchvision import ops

import lazytorch as lt
from lazytorch.differences import UnsupportedOperator

from .functions import Function


class First(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(x)[0]


class Caching(nn.Module):
    """Computes a function of its weight at the first call, and keeps it."""

    def __init__(self):
        super().__init__()
        self.weight, self._kept = nn.Parameter(torch.randn(4, 3)), {}

    def forward(self, x):
        if "square" not in self._kept:
            self._kept["square"] = self.weight.square()
        return x @ self._kept["square"]


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.outer(checkpoint(lambda t: self.inner(t).tanh(), x, use_reentrant=False))


@torch.library.custom_op("lazytorch_tests::cube", mutates_args=())
def cube(x: torch.Tensor) -> torch.Tensor:
    return x**3


@cube.register_fake
def _(x):
    return torch.empty_like(x)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


cube.register_autograd(lambda ctx, gradient: 3 * gradient * ctx.saved_tensors[0] ** 2, setup_context=_save)


@torch.library.custom_op("lazytorch_tests::without_derivative", mutates_args=())
def without_derivative(x: torch.Tensor) -> torch.Tensor:
    return x**3


@without_derivative.register_fake
def _(x):
    return torch.empty_like(x)


BOXES = torch.tensor([[0.0, 1.0, 1.0, 3.0, 3.0], [1.0, 0.0, 0.0, 2.0, 3.0]], dtype=torch.float64)
OFFSETS = torch.full((2, 8, 3, 3), 0.3, dtype=torch.float64)
INDEX = torch.tensor([[0, 1, 0, 2], [2, 2, 1, 0]])


def on_images(function, *shape):
    return Function(lambda x, w: function(x.reshape(2, 4, 1, 1) * w, w), *shape)


def scattered(reduce):
    def function(x, w):
        return torch.zeros(3, 4, dtype=x.dtype).scatter_reduce(0, INDEX, x * w, reduce, include_self=False)

    return Function(function, 2, 4)


NO_FORWARD_FORMULA = {
    "custom operator": lambda: Function(lambda x, w: cube(x @ w), 4, 3),
    "roi_align": lambda: on_images(lambda x, _: ops.roi_align(x, BOXES, 2), 4, 4, 4),
    "ps_roi_align": lambda: on_images(lambda x, _: ops.ps_roi_align(x, BOXES, 2), 4, 4, 4),
    "ps_roi_pool": lambda: on_images(lambda x, _: ops.ps_roi_pool(x, BOXES, 2), 4, 4, 4),
    "deformable convolution": lambda: on_images(
        lambda x, w: ops.deform_conv2d(x, OFFSETS, w.expand(4, 4, 4, 4)[..., :2, :2], w[0, 0]), 4, 4, 4
    ),
    "products of what is scattered": lambda: scattered("prod"),
    "largest of what is scattered": lambda: scattered("amax"),
}
NOT_BY_JVP = {
    "LSTM": lambda: First(nn.LSTM(4, 3)),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
    "distances": lambda: Function(lambda x, w: torch.cdist(x, w), 3, 4),
    "sampled on a grid": lambda: Function(
        lambda x, w: F.grid_sample(w, x.reshape(1, 2, 2, 2) / 3, align_corners=False), 1, 2, 5, 5
    ),
    "bag of embeddings": lambda: Function(
        lambda x, w: F.embedding_bag(torch.arange(6).reshape(2, 3) + 0 * x.long()[:, :1], w, mode="sum"), 9, 3
    ),
    "checkpoint": Checkpointed,
    "hardswish": lambda: nn.Sequential(nn.Linear(4, 3), nn.Hardswish(), nn.Hardsigmoid()),
    "kept from call to call": Caching,
}


def at_random(model):
    generator = torch.Generator().manual_seed(1)
    for theta in model.theta.values():
        nn.init.normal_(theta, generator=generator)
    return model


def fresh(net):
    """The module without what it keeps from call to call."""
    if isinstance(net, Caching):
        net._kept.clear()
    return net


def central_difference(net, model, x, step=1e-5):
    """J theta by two passes in float64."""
    start = {name: p.detach().clone() for name, p in net.named_parameters()}
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, parameter in net.named_parameters():
                parameter.copy_(start[name] + sign * step * model.theta[name])
            ends.append(fresh(net)(x))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(start[name])
    return (ends[0] - ends[1]) / (2 * step)


@pytest.mark.parametrize("name", NO_FORWARD_FORMULA | NOT_BY_JVP)
def test_what_forward_mode_does_not_know_has_its_derivative_and_gradient(name):
    torch.manual_seed(0)
    net, x = (NO_FORWARD_FORMULA | NOT_BY_JVP)[name]().double(), torch.randn(2, 4, dtype=torch.float64)
    models = [at_random(lt.linearize(net)), at_random(lt.CenteredModel(net, math.inf))]
    net = fresh(net)
    cotangent = torch.randn_like(net(x))
    gradients = torch.autograd.grad(fresh(net)(x), list(net.parameters()), cotangent)
    expected = central_difference(net, models[0], x)
    for model in models:
        for _ in range(2):
            output = model(x)
            torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-6)
            found = torch.autograd.grad(output, list(model.theta.values()), cotangent)
            torch.testing.assert_close(found, gradients, rtol=1e-7, atol=1e-10)  # of torch's hardsigmoid


class Larger(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.a, self.b, self.function = (
            nn.Parameter(torch.tensor([1.0, 4.0])),
            nn.Parameter(torch.arange(2.0, 4)),
            function,
        )

    def forward(self, x):
        return x * self.function(self.a, self.b)


@pytest.mark.parametrize("function", (torch.maximum, torch.min, torch.fmax))
def test_a_tangent_keeps_its_digits_beside_a_larger_one(function):
    net = Larger(function)
    first = function(net.a, net.b) == net.a
    for model in (lt.linearize(net), lt.CenteredModel(net, math.inf)):
        for tangents in ((1e9, 0.3), (0.3, 1e9)):
            for theta, tangent in zip(model.theta.values(), tangents, strict=True):
                nn.init.constant_(theta, tangent)
            assert torch.equal(model(torch.ones(2)), torch.where(first, *model.theta.values()))


class Sometimes(nn.Module):
    """Uses the operator where the sum of the inputs is positive, and little of it."""

    def __init__(self, share):
        super().__init__()
        self.of_cube, self.beside, self.share = nn.Linear(4, 3), nn.Linear(4, 3), share

    def forward(self, x):
        h = self.of_cube(x)
        if x.sum() > 0:
            h = cube(h)
        return self.share * h + self.beside(x)


@pytest.mark.parametrize("share", (1.0, 1e-3))
def test_a_small_part_and_a_later_branch_are_not_lost(share):
    torch.manual_seed(0)
    net, x = Sometimes(share), torch.randn(5, 4)
    x = x * x.sum().sign()
    linear, model = lt.linearize(net), lt.CenteredModel(net.double(), math.inf)
    for each in (linear, model):
        for theta in list(each.theta.values())[:2]:
            nn.init.ones_(theta)
    for inputs in (-x, x, -x):
        expected = model(inputs.double())
        assert expected.norm() > 0
        torch.testing.assert_close(linear(inputs).double(), expected, rtol=1e-4, atol=1e-6)


def test_an_operator_without_derivative_is_refused():
    net, x = Function(lambda x, w: without_derivative(x @ w), 4, 3), torch.randn(2, 4)
    for model in (lt.linearize(net), lt.CenteredModel(net, math.inf)):
        with pytest.raises(UnsupportedOperator, match="without_derivative.*torch no derivative: register a rule"):
            model(x)


def test_where_gradients_are_stopped_the_linearization_is_the_limit_of_finite_alpha():
    """Its outputs have the whole derivative, and its gradients stop where the module's do."""
    torch.manual_seed(0)
    net = Function(lambda x, w: (x @ w).detach() * (x @ w).tanh(), 4, 3).double()
    x, found = torch.randn(2, 4, dtype=torch.float64), []
    for model in map(at_random, (lt.linearize(net), lt.CenteredModel(net, math.inf), lt.CenteredModel(net, 1e9))):
        output = model(x)
        found.append((output.detach(), torch.autograd.grad(output.sum(), list(model.theta.values()))))
    for each in found[1:]:
        torch.testing.assert_close(found[0], each, rtol=1e-7, atol=1e-8)


def test_a_linearization_by_its_trace_keeps_what_it_had():
    torch.manual_seed(0)
    net, x = First(nn.LSTM(4, 3)), torch.randn(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(lt.linearize(net, centered=False)(x), net(x))
    with pytest.raises(RuntimeError, match="an input of a linearized model requires a gradient"):
        lt.linearize(net)(x.requires_grad_())


def test_the_first_call_changes_nothing():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Dropout())
    model, x = at_random(lt.linearize(net)), torch.randn(5, 4)
    state = torch.get_rng_state()
    first = model(x)
    torch.set_rng_state(state)
    once = {name: t.clone() for name, t in model.initial_buffers().items()}
    assert once["1.num_batches_tracked"] == 1
    torch.testing.assert_close(model(x), first)


def test_attention_in_evaluation_mode():
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    linear, model = at_random(lt.linearize(net)), at_random(lt.CenteredModel(net, torch.inf))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(linear(x), model(x))
    assert torch.backends.mha.get_fastpath_enabled() == fast
