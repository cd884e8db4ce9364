"""What would be silently wrong is refused, with what it is and what to do; what changes between calls is seen."""

import collections
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


class Keeping(nn.Module):
    """Keeps something as an attribute: ``change`` it, ``use`` it."""

    def __init__(self, kept, change, use):
        super().__init__()
        self.layer, self.kept, self.change, self.use = nn.Linear(3, 2), kept, change, use

    def forward(self, x):
        self.change(self)
        return self.layer(x) * (self.use(self.kept) if self.use else 1)


def add_to(place):
    def change(module):
        module.kept[place] += 1

    return change


def replace(module):
    module.kept = module.kept + 1


def replace_by(module, step):
    module.kept = module.kept + step


def in_place(module):
    module.kept += 1


KEPT = {
    "dict": (lambda: {"n": 1}, add_to("n"), lambda kept: kept["n"]),
    "list in a tuple": (lambda: ([1], 0), lambda module: module.kept[0].append(2), lambda kept: sum(kept[0])),
    "counter": (collections.Counter, add_to("n"), lambda kept: kept["n"]),
    "tensor": (lambda: torch.tensor(1.0), replace, lambda kept: kept),
    "number that becomes a tensor": (lambda: 1.0, lambda module: replace_by(module, torch.ones(())), lambda kept: kept),
    "number of a tensor": (lambda: torch.tensor(1), replace, lambda kept: kept.item()),
    "tensor in place": (lambda: torch.ones(2), in_place, lambda kept: kept),
    "tensor in a dict": (lambda: {"n": torch.tensor(1)}, add_to("n"), lambda kept: kept["n"]),
}


@pytest.mark.parametrize("make", (lambda net: lt.CenteredModel(net, 10.0), lt.linearize))
@pytest.mark.parametrize("case", KEPT)
def test_what_a_module_keeps_and_changes_in_forward_is_seen(case, make):
    start, change, use = KEPT[case]
    x = torch.randn(4, 3)
    expected = moved(make(nn.Linear(3, 2)))(x)
    unused = moved(make(Keeping(start(), change, None)))
    for _ in range(2):
        torch.testing.assert_close(unused(x), expected)
    with pytest.raises(lt.UntraceableModule, match="Keeping changes its attribute 'kept' in forward"):
        make(Keeping(start(), change, use))(x)


def test_what_a_module_keeps_may_be_changed_between_calls():
    x = torch.randn(4, 3)
    for kept in ({"n": 1.0}, {"n": torch.tensor(1.0)}, {"n": [[1.0]]}):
        net = Keeping(kept, lambda module: None, lambda kept: torch.as_tensor(kept["n"]).sum())
        model = moved(lt.CenteredModel(net, 10.0))
        once = model(x)
        for factor in (2.0, 3.0):
            model.structure.kept["n"] = (
                type(kept["n"])([[factor]]) if isinstance(kept["n"], list) else kept["n"] * factor
            )
            torch.testing.assert_close(model(x), factor * once)


def test_what_is_kept_of_a_call_alone_is_no_matter():
    def remember(module):
        module.kept = {"weight": module.layer.weight * 2, "n": 1}

    net, x = Keeping(None, remember, lambda kept: kept["weight"].sum()), torch.randn(4, 3)
    model = moved(lt.CenteredModel(net, 10.0))
    torch.testing.assert_close(model(x), 10 * (model.to_module()(x) - net(x)), rtol=1e-4, atol=1e-4)


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
