"""Laziness of any two networks, against definitions written out and against the centered model."""

import copy
import itertools
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lazytorch as lt
from lazytorch.theory import laziness

KEYS = [
    "displacement",
    "ntk_drift",
    "kernel_distance",
    "activation_stability",
    "activation_stability_by_layer",
    "linearization_error",
]


def network(smooth=False):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh() if smooth else nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))


def moved(net, scale):
    after = copy.deepcopy(net)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in after.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return after


def test_it_is_what_the_definitions_say():
    before, x = network(), torch.randn(7, 4)
    after = moved(before, 0.3)
    result = laziness(before, after, x)
    assert list(result) == [*KEYS, "verdict", "not_measured"] and result["not_measured"] == {}

    nets, x = [copy.deepcopy(net).double().eval() for net in (before, after)], x.double()
    weights = [dict(net.named_parameters()) for net in nets]
    vectors = [torch.cat([p.detach().flatten() for p in net.parameters()]) for net in nets]
    change = vectors[1] - vectors[0]
    assert result["displacement"] == pytest.approx((change.norm() / vectors[0].norm()).item(), rel=1e-12)

    def jacobian(net, w):
        rows = torch.func.jacrev(lambda w: torch.func.functional_call(net, w, x))(w)
        return torch.cat([row.flatten(2) for row in rows.values()], 2).flatten(0, 1)

    j_0, j = (jacobian(net, w) for net, w in zip(nets, weights, strict=True))
    k_0, k = j_0 @ j_0.T, j @ j.T
    assert result["ntk_drift"] == pytest.approx(((k - k_0).norm() / k_0.norm()).item(), rel=1e-9)
    cosine = F.cosine_similarity(k.flatten(), k_0.flatten(), 0).item()
    assert result["kernel_distance"] == pytest.approx(1 - cosine, rel=1e-9)

    signs = [net[0](x) > 0 for net in nets]
    assert result["activation_stability"] == pytest.approx((signs[0] == signs[1]).double().mean().item())
    assert result["activation_stability_by_layer"] == {"1": result["activation_stability"]}
    outputs = (nets[1](x) - nets[0](x)).flatten()
    error = ((outputs - j_0 @ change).norm() / outputs.norm()).item()
    assert result["linearization_error"] == pytest.approx(error, rel=1e-9)
    assert all(0 < result[key] < 10 for key in KEYS if key != "activation_stability_by_layer")


@pytest.mark.parametrize("alpha", (3.0, 1e6))
def test_of_a_centered_model_with_batch_norm_it_is_what_the_model_says(alpha):
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU())
    net, x = nn.Sequential(features, nn.Flatten(), nn.Linear(20, 3)).double(), torch.randn(8, 2, 4, 4).double()
    model = lt.CenteredModel(net, alpha).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):  # net(x) learns of the same batches, so that its statistics are those of w_0
        net(x)
        optimizer.zero_grad()
        (model(x) - 1).square().mean().backward()
        optimizer.step()
    result = laziness(net, model.to_module(torch.float64), x)

    model.eval()
    assert result["displacement"] == pytest.approx(model.displacement(), rel=1e-6)
    at_w_0, at_w = (lt.empirical_ntk(m.eval(), x) for m in (copy.deepcopy(net), model.to_module()))
    assert result["ntk_drift"] == pytest.approx(lt.kernel_drift(at_w_0, at_w), rel=1e-6)
    with torch.no_grad():
        finite = model(x)
        model.alpha = torch.inf
        linear = model(x)
    error = ((finite - linear).norm() / finite.norm()).item()
    assert error > 1e-9 and result["linearization_error"] == pytest.approx(error, rel=1e-2)
    assert alpha < 1e6 or result["verdict"].startswith("lazy: kernel drift")


def test_it_tends_to_the_linearized_regime_as_the_weights_move_less():
    """Drift and error like the displacement, the distance like its square, on a smooth network."""
    net, x = network(smooth=True).double(), torch.randn(5, 4)
    results = [laziness(net, moved(net, 10.0**-k), x) for k in (3, 4, 5)]
    for coarse, fine in itertools.pairwise(results):
        for key in ("displacement", "ntk_drift", "linearization_error"):
            assert coarse[key] / fine[key] == pytest.approx(10, rel=0.05)
        assert coarse["kernel_distance"] / fine["kernel_distance"] == pytest.approx(100, rel=0.05)
        assert fine["verdict"].startswith("lazy: kernel drift")
        assert fine["activation_stability"] is None and "no ReLU" in fine["not_measured"]["activation_stability"]


def test_redrawn_weights_are_not_lazy():
    torch.manual_seed(5)
    others = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))
    assert laziness(network(), others, torch.randn(20, 4))["verdict"].startswith("not lazy: kernel drift")


def test_networks_inputs_and_generators_are_left_alone():
    torch.manual_seed(0)
    before = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2)).train()
    after, x = moved(before, 0.1), torch.randn(6, 4)
    before.requires_grad_(False)
    after[1].eval()
    kept = copy.deepcopy([before.state_dict(), after.state_dict(), x])
    modes = [[m.training for m in net.modules()] for net in (before, after)]
    state = torch.get_rng_state()
    laziness(before, after, x)
    torch.testing.assert_close([before.state_dict(), after.state_dict(), x], kept, rtol=0, atol=0)
    assert modes == [[m.training for m in net.modules()] for net in (before, after)]
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(p.requires_grad for p in before.parameters()) and all(p.requires_grad for p in after.parameters())
    assert all(p.grad is None and p.dtype == torch.float32 for p in after.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for net in (before, after) for m in net.modules())


def test_weights_that_have_not_moved():
    net = network()
    result = laziness(net, copy.deepcopy(net), torch.randn(5, 4))
    assert result["displacement"] == result["ntk_drift"] == 0 and result["activation_stability"] == 1
    assert result["linearization_error"] is None and result["not_measured"]["linearization_error"]
    assert result["verdict"].startswith("not trained")


class Odd(nn.Linear):
    """A linear layer and ReLU with something between them."""

    def __init__(self, what):
        super().__init__(4, 6)
        self.what = what

    def forward(self, x):
        return self.what(super().forward(x)).relu()


class NoForwardMode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


ODD = {
    "examples that mix": (lambda x: x - x.mean(0), ("ntk_drift", "kernel_distance"), "mix|interact"),
    "random": (F.dropout, ("ntk_drift", "kernel_distance"), "random"),
    "no forward mode": (NoForwardMode.apply, ("linearization_error",), "."),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_does_not_fit_a_module_is_none_with_the_reason(kind):
    function, names, reason = ODD[kind]
    torch.manual_seed(0)
    net = Odd(function)
    result = laziness(net, moved(net, 0.1), torch.randn(9, 4))
    assert set(result["not_measured"]) == set(names) == {name for name in KEYS if result[name] is None}
    for name in names:
        assert re.search(reason, result["not_measured"][name])
    assert result["displacement"] > 0 and 0 < result["activation_stability"] < 1
    if kind == "random":  # the draws are the same at w_0 and at w
        assert 0 < result["linearization_error"] < 1


def test_several_inputs_and_outputs():
    class Several(nn.Linear):
        def forward(self, x, y):
            z = super().forward(x + y).relu()
            return {"z": z, "sum": z.sum(1), "class": z.argmax(1)}

    torch.manual_seed(0)
    net, inputs = Several(4, 3), tuple(torch.randn(2, 7, 4))
    result = laziness(net, moved(net, 0.1), inputs)
    assert result["linearization_error"] > 0 and 0 < result["activation_stability"] <= 1


def renamed():
    return nn.Sequential(nn.Sequential(nn.Linear(4, 6)), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))


@pytest.mark.parametrize(
    ("other", "name"),
    [
        (lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 3)), r"'3\.weight', \(2, 6\)"),
        (lambda: nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2)), r"'0\.bias'"),
        (renamed, r"'0\.weight', \(6, 4\) and missing"),
        (lambda: network(smooth=True), "'1', ReLU and Tanh"),
    ],
)
def test_structures_that_differ_are_refused_by_the_first_name(other, name):
    with pytest.raises(ValueError, match=f"differ in {name}"):
        laziness(network(), other(), torch.randn(5, 4))


def test_other_unsuitable_arguments():
    net, x = network(), torch.randn(5, 4)
    with pytest.raises(TypeError, match=r"net is a CenteredModel: give net\.to_module\(torch\.float64\)"):
        laziness(net, lt.CenteredModel(net, 10.0), x)
    with pytest.raises(TypeError, match=r"net_0 must be a torch\.nn\.Module"):
        laziness(net.state_dict(), net, x)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        laziness(net, moved(net, 0.1), torch.randn(5, 3))
    net.requires_grad_(False)
    with pytest.raises(ValueError, match="trainable"):
        laziness(net, moved(net, 0.1), x)


def test_what_is_not_finite_has_no_laziness():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    lost = copy.deepcopy(net)
    nn.init.constant_(lost[2].bias, torch.nan)
    x = torch.randn(5, 3)
    with pytest.raises(ValueError, match="2.bias of the network after training is not finite"):
        lt.laziness(net, lost, x)
    with pytest.raises(ValueError, match="x is not finite"):
        lt.laziness(net, net, x * torch.inf)
    with pytest.raises(TypeError, match="from_numpy"):
        lt.laziness(net, net, x.numpy())
