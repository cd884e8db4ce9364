"""Activation stability from the pairs of a forward pass, against two float64 passes."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

import lazytorch as lt
from lazytorch.activations import ActivationCounts, activation_stability, zero_preactivations


class Block(nn.Module):
    """A ReLU module that is called twice, in-place and functional calls, and a preactivation without weights."""

    def __init__(self):
        super().__init__()
        self.linear, self.relu = nn.Linear(5, 5), nn.ReLU()

    def forward(self, x):
        return F.relu(self.relu(self.linear(x)) - self.relu(-x), inplace=True)


class Whole(nn.Module):
    """Functional calls in the root, and one module at two names."""

    def __init__(self):
        super().__init__()
        self.first, self.block, self.last = nn.Linear(4, 5), nn.Sequential(Block(), nn.Dropout(0.0)), nn.Linear(5, 2)
        self.act = nn.ReLU(inplace=True)
        self.again = self.act

    def forward(self, x):
        x = self.first(x.relu()).relu_()
        x = self.block(self.again(x - 0.1))
        return self.last(self.act(x - 0.1)).relu()


def encoder():
    return nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)


NETWORKS = {
    "modules": lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 3), nn.ReLU(inplace=True))),
    "calls": Whole,
    "attention": encoder,
    "batch norm": lambda: nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)),
}


def network(kind):
    torch.manual_seed(0)
    net = NETWORKS[kind]().double()
    return net, torch.randn(40, 3, 4).double() if kind == "attention" else torch.randn(40, 4).double()


def randomised(net, alpha, scale=1.0):
    model = lt.CenteredModel(net, alpha)
    torch.manual_seed(1)
    for theta in model.theta.values():
        nn.init.normal_(theta, std=scale)
    return model


def counted(model, *batches):
    counts = ActivationCounts()
    with model.observing(counts), torch.no_grad():
        for batch in batches:
            model(batch)
    return counts


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("mode", ("train", "eval"))
@pytest.mark.parametrize("alpha", (1.0, 10.0))
def test_observed_stability_is_that_of_two_passes(kind, mode, alpha):
    net, x = network(kind)
    model = randomised(getattr(net, mode)(), alpha)
    expected = activation_stability(model.to_module(), model.initial_weights(), model.weights(), x)
    assert expected["overall"] < 1
    counts = counted(model, x)
    assert counts.stability() == expected
    assert list(counts.same) == list(expected["layers"])


@pytest.mark.parametrize("alpha", (1.0, 100.0, 1e7))
def test_signs_in_float32_are_those_of_float64_passes(alpha):
    """On inputs of the size of 1 / alpha, where units flip; all but those within float32 rounding of the kink."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 50), nn.ReLU(), nn.Linear(50, 20), nn.ReLU(), nn.Linear(20, 2))
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    model, x, observed = randomised(net, alpha), torch.randn(100, 1) / alpha, []
    with model.observing(lambda *told: observed.append(told)):
        model(x)

    w_0 = {name: t.double() for name, t in model.initial_weights().items()}
    theta = {name: t.detach().double() for name, t in model.theta.items()}
    preactivations = []
    for w in (w_0, {name: t + theta[name] / alpha for name, t in w_0.items()}):
        first = F.linear(x.double(), w["0.weight"], w["0.bias"])
        preactivations.append((first, F.linear(first.relu(), w["2.weight"], w["2.bias"])))
    for (name, *signs), start, end in zip(observed, *preactivations, strict=True):
        flipped = (start > 0) != (end > 0)
        assert flipped.double().mean() > 0.1, name
        for sign, value in zip(signs, (start, end), strict=True):
            wrong = sign != (value > 0)
            assert (value[wrong].abs() <= 1e-5 * (start.abs() + end.abs()).mean()).all(), name
            assert wrong.double().mean() <= 1e-3, name


def test_a_sign_does_not_underflow():
    """In float16, where 1e-7 times a difference is 0, at preactivations that are 0 at w_0."""
    net = nn.Sequential(nn.Linear(1, 3, bias=True), nn.ReLU()).half()
    nn.init.zeros_(net[0].bias)
    model, x = lt.CenteredModel(net, 1e7), torch.zeros(1, 1, dtype=torch.float16)
    with torch.no_grad():
        model.theta["0.bias"].copy_(torch.tensor([0.01, 0.0, -0.01]))
    observed = []
    with model.observing(lambda *told: observed.append(told)):
        model(x)
    ((name, start, end),) = observed
    assert name == "1" and start.tolist() == [[False] * 3] and end.tolist() == [[True, False, False]]


def test_nothing_flips_at_infinite_alpha_nor_without_weights():
    net, x = network("calls")
    observed = []
    model = randomised(net, math.inf)
    with model.observing(lambda *told: observed.append(told)):
        model(x)
    assert len(observed) == 8 and all(torch.equal(start, end) for _, start, end in observed)
    assert counted(randomised(net, 1.0), x).stability()["layers"]["relu"] == 1.0  # of the inputs
    assert torch.equal(observed[0][1], x > 0)


def test_an_index_that_depends_on_theta_as_preactivation():
    class Chosen(nn.Linear):
        def forward(self, x):
            return torch.relu(super().forward(x).argmax(1)).float()

    torch.manual_seed(0)
    net, x = Chosen(4, 3).double(), torch.randn(60, 4).double()
    model = randomised(net, 2.0)
    expected = activation_stability(net, model.initial_weights(), model.weights(), x)
    assert expected["overall"] < 1
    assert counted(model, x).stability() == expected


def test_counts_add_up_over_batches_of_any_size():
    net, x = network("calls")
    model = randomised(net, 1.0)
    expected = activation_stability(net, model.initial_weights(), model.weights(), x)
    assert counted(model, x[:7], x[7:12], x[12:]).stability() == expected


def test_other_kinks_are_no_relus():
    net = nn.Sequential(nn.Linear(4, 6), nn.LeakyReLU(), nn.ReLU6(), nn.Hardswish(), nn.Linear(6, 2))
    model, x = randomised(net, 1.0), torch.randn(5, 4)
    for stability in (counted(model, x).stability(), activation_stability(net, {}, {}, x)):
        assert math.isnan(stability["overall"]) and stability["layers"] == {}


def test_counting_waits_for_no_device():
    with FakeTensorMode():  # reading a value raises
        counts = ActivationCounts()
        for _ in range(2):
            counts("relu", torch.ones(3, dtype=torch.bool), torch.ones(3, dtype=torch.bool))
    assert counts.total == {"relu": 6}


def test_observing_ends_with_its_context():
    net, x = network("modules")
    model, outer, inner = lt.CenteredModel(net, 10.0), ActivationCounts(), ActivationCounts()
    with model.observing(outer):
        with pytest.raises(RuntimeError), model.observing(inner):
            model(x[:, :3])
        model(x)
    model(x)
    assert outer.total == {"1": 240, "2.1": 120} and not inner.total


def test_models_that_share_a_start_are_observed_each():
    net, x = network("modules")
    models = [randomised(net, alpha) for alpha in (1.0, 3.0)]
    alone = [counted(model, x).stability() for model in models]
    start, counts = lt.SharedStart(models), [ActivationCounts(), ActivationCounts()]
    with models[0].observing(counts[0]), models[1].observing(counts[1]):
        list(start(x))
    assert [c.stability() for c in counts] == alone and alone[0] != alone[1]


def test_what_propagates_no_pairs_is_refused_with_the_remedy():
    net, _ = network("modules")
    model = lt.CenteredModel(net, 10.0, difference="direct")
    with pytest.raises(ValueError, match="activation_stability"), model.observing(print):
        pass


def test_stability_of_a_module_of_two_inputs():
    class Sum(nn.Linear):
        def forward(self, x, y):
            return super().forward(x + y).relu()

    torch.manual_seed(0)
    net = Sum(3, 4)
    x, y = torch.randn(2, 300, 3)
    moved = {name: p.detach() + 0.3 for name, p in net.named_parameters()}
    signs = [F.linear(x + y, w["weight"], w["bias"]) > 0 for w in (dict(net.named_parameters()), moved)]
    stability = activation_stability(net, dict(net.named_parameters()), moved, (x, y))
    assert stability["overall"] == pytest.approx((signs[0] == signs[1]).double().mean().item())
    assert stability["overall"] < 1


def test_measuring_in_training_mode_leaves_buffers_alone():
    net, x = network("batch norm")
    before = copy.deepcopy(net.state_dict())
    activation_stability(net.train(), dict(net.named_parameters()), before, x)
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_zero_preactivations_are_counted():
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU())
    assert zero_preactivations(net, torch.tensor([[0.0, 0.0], [1.0, 2.0]])) == 0.5
    assert zero_preactivations(net[:1], torch.zeros(2, 2)) == 0.0


def test_weights_of_another_network_are_refused():
    net, x = network("modules")
    with pytest.raises(ValueError, match=r"names '7\.weight'"):
        activation_stability(net, {}, {"7.weight": torch.zeros(1)}, x)
    with pytest.raises(ValueError, match=r"'0\.weight' of shape \(3,\)"):
        activation_stability(net, {"0.weight": torch.zeros(3)}, {}, x)
