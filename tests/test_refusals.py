"""What would be silently wrong is refused, with what it is and what to do; what changes between calls is seen."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

import lazytorch as lt


@dataclass(frozen=True, eq=False)
class Graph:
    nodes: torch.Tensor


@dataclass(frozen=True, eq=False)
class Outer:
    inner: Graph


@dataclass(eq=False)
class Options:
    scale: float = 1.0


class OnGraphs(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, graph):
        graph = getattr(graph, "inner", graph)
        return self.layer(graph.nodes)


@pytest.mark.parametrize("wrap", (Graph, lambda x: Outer(Graph(x)), lambda x: frozenset([x])))
@pytest.mark.parametrize("make", (lambda net: lt.CenteredModel(net, 10.0), lt.linearize))
def test_an_object_that_holds_tensors_is_no_argument(make, wrap):
    with pytest.raises(TypeError, match="argument is a .* that holds tensors, .* give the tensors themselves"):
        make(OnGraphs())(wrap(torch.randn(4, 3)))


class Scaled(nn.Module):
    """Reads Python's state: a rate of its own, and an argument's."""

    def __init__(self):
        super().__init__()
        self.layer, self.rates = nn.Linear(3, 2), [1.0]

    def forward(self, x, options=None):
        return self.layer(x) * self.rates[0] * (options.scale if options else 1.0)


def moved(model):
    for theta in model.theta.values():
        nn.init.ones_(theta)
    return model


@pytest.mark.parametrize("make", (lambda net: lt.CenteredModel(net, 10.0), lambda net: lt.CenteredModel(net, math.inf)))
def test_what_the_module_and_its_arguments_say_may_change_between_calls(make):
    model, x, options = moved(make(Scaled())), torch.randn(4, 3), Options()
    once = model(x, options)
    model.structure.rates[0] = 2.0
    torch.testing.assert_close(model(x, options), 2 * once)
    options.scale = 3.0
    torch.testing.assert_close(model(x, options), 6 * once)
    assert model.tracing[0] == 3


class Counting(nn.Module):
    def __init__(self, used):
        super().__init__()
        self.layer, self.used = nn.Linear(3, 2), used
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) * (self.calls if self.used else 1)


def test_a_counter_that_matters_is_refused_and_one_that_does_not_is_let_be():
    x = torch.randn(4, 3)
    assert lt.CenteredModel(Counting(used=False), 10.0)(x).shape == (4, 2)
    with pytest.raises(lt.UntraceableModule, match="Sequential changes its attribute '0.calls' in forward"):
        lt.CenteredModel(nn.Sequential(Counting(used=True)), 10.0)(x)


class Hooking(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x):
        y = self.layer(x)
        y.register_hook(lambda gradient: 2 * gradient)
        return y


def test_hooks_of_gradients_are_refused():
    for model in (lt.CenteredModel(Hooking(), 10.0), lt.linearize(Hooking())):
        with pytest.raises(lt.UntraceableModule, match="hooks a tensor's gradient"):
            model(torch.randn(4, 3))
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    for register in (net[0].register_full_backward_hook, net[0].register_full_backward_pre_hook):
        handle = register(lambda *_: None)
        with pytest.raises(ValueError, match=r"net has a backward hook \(0\)"):
            lt.CenteredModel(net, 10.0)
        handle.remove()
    for register in (net[0].weight.register_hook, net[0].weight.register_post_accumulate_grad_hook):
        handle = register(lambda *_: None)
        with pytest.raises(ValueError, match=r"net has a backward hook \(0.weight\)"):
            lt.CenteredModel(net, 10.0)
        handle.remove()
    lt.CenteredModel(net, 10.0)


def test_a_forward_that_a_copy_does_not_take_along_is_refused():
    net = nn.Linear(3, 2)
    net.forward = lambda x: nn.functional.linear(x, net.weight)
    for model in (lt.CenteredModel(net, 10.0), lt.CenteredModel(net, math.inf), lt.linearize(net)):
        with pytest.raises(lt.UntraceableModule, match="nothing that Linear returns depends on theta"):
            model(torch.randn(4, 3))


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


def test_theta_is_not_parametrized():
    model = lt.CenteredModel(nn.Sequential(nn.Linear(3, 2)), 10.0)
    prune.l1_unstructured(model._modules["theta"]._modules["0"], "weight", 1)
    with pytest.raises(RuntimeError, match="theta has been parametrized or pruned .*weight.*: parametrize the network"):
        model(torch.randn(4, 3))
    net = nn.Sequential(nn.Linear(3, 2))
    parametrize.register_parametrization(net[0], "weight", Double())
    assert moved(lt.CenteredModel(net, 10.0))(torch.randn(4, 3)).shape == (4, 2)


class NormInFloat32(nn.Module):
    """As language models normalise."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x):
        y = self.layer(x).float()
        return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype)


def test_what_rounds_in_float32_is_not_subtracted_at_large_alpha():
    net, x = NormInFloat32().double(), torch.randn(4, 3, dtype=torch.float64)
    assert moved(lt.CenteredModel(net, 100.0, "direct"))(x).dtype == torch.float64
    model = lt.CenteredModel(net, 1e7, "direct")
    with pytest.raises(ValueError, match=r"NormInFloat32 computes in float32 \(float\), whose rounding is .*1e\+07"):
        model(x)
    model.alpha = 100.0
    model(x)
    assert moved(lt.CenteredModel(nn.Linear(3, 2).double(), 1e9, "direct"))(x).isfinite().all()
    with pytest.raises(ValueError, match=r"Linear computes in float32"):
        lt.CenteredModel(nn.Linear(3, 2), 1e9, "direct")(x.float())
