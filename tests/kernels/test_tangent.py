"""The tangent kernel of networks of every kind, against explicit Jacobians in float64."""

import bisect
import copy
import functools
import gc

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import lazytorch as lt
from lazytorch.kernels import Jacobian, contractions, inspection, kernel_operator, plan, plan_ntk
from lazytorch.kernels.tangent import prepare

from .networks import (
    NETWORKS,
    Lambda,
    broadcast_parameters,
    build,
    convolutions,
    jacobian,
    looped_scale,
    own_parameters,
    recurrent,
    reduced,
    reference,
    resnet18,
    used_twice,
)
from .thinned import thinned

KINDS = ("full", "trace", "diagonal")


def double(x):
    if isinstance(x, tuple):
        return tuple(map(double, x))
    return x.double() if x.is_floating_point() else x


def assert_equal(kernel, expected, dtype):
    assert kernel.dtype == dtype and kernel.shape == expected.shape
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    error = ((kernel - expected).abs().max() / expected.abs().max()).item()
    assert error < tolerance


@pytest.fixture(scope="module")
def full_kernel():
    """The full kernel of a network in ``NETWORKS``, computed once."""
    return functools.cache(lambda make: reference(*build(make)).detach())


@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_kernels_are_those_of_the_jacobians(make, full_kernel):
    net, x = build(make)
    exact, full = copy.deepcopy(net).double(), full_kernel(make)
    for kind in KINDS:
        expected = reduced(full, kind)
        assert_equal(lt.empirical_ntk(net, x, kind=kind), expected, torch.float32)
        kernel = lt.empirical_ntk(exact, double(x), kind=kind)
        assert_equal(kernel, expected, torch.float64)
        mirrored = kernel.permute(1, 0, 3, 2) if kind == "full" else kernel.transpose(0, 1)
        assert torch.equal(kernel, mirrored)


@pytest.mark.parametrize(
    "make",
    [pytest.param(make, marks=pytest.mark.slow if make is resnet18 else ()) for make in NETWORKS],
    ids=lambda make: make.__name__,
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_differentiation_alone_gives_the_same(make, monkeypatch, full_kernel):
    net, x = build(make)
    net, x, expected = net.double(), double(x), full_kernel(make)
    monkeypatch.setattr(inspection, "_layouts", lambda calls, *_: [None] * len(calls))
    assert all(form.name == "parameter space" and not form.uses for form in plan_ntk(net, x).forms)
    assert_equal(lt.empirical_ntk(net, x), expected, torch.float64)


@pytest.mark.parametrize("make, alone", ((own_parameters, False), (recurrent, True)))
def test_differentiation_is_batched_where_it_can_be(make, alone):
    net, x = build(make)
    x, calls = torch.randn(11, *x.shape[1:]), []
    net.register_forward_pre_hook(lambda *_: calls.append(1))
    lt.empirical_ntk(net, x)
    # inspection; structured; batched; alone or its check; an entry's check
    assert len(calls) == 2 + 1 + (1 + 11 if alone else 2) + 2


@pytest.mark.parametrize("make, left", ((broadcast_parameters, {"other", "constant"}), (looped_scale, {"scale"})))
def test_only_unusual_parameters_are_left_to_differentiation(make, left):
    plan = plan_ntk(*build(make))
    assert {p.name for p in plan.findings.parameters if not p.uses} == left


@pytest.mark.parametrize("kind", ("structured", "differentiated", "masked"))
def test_parameters_that_only_later_examples_use_are_noticed(kind):
    def forward(self, x):
        if kind == "masked":
            mask = x[..., 0] > 0
            return x.tanh().index_put((mask,), x[mask] * self.scale).sum(1)
        x = torch.stack([torch.tanh(e * self.scale) if e.sum() > 0 else e + self.shift for e in x])
        return self.linear(x) if kind == "structured" else x

    scale, shift = nn.Parameter(torch.randn(3)), nn.Parameter(torch.randn(3))
    net = Lambda(forward, linear=nn.Linear(3, 2), scale=scale, shift=shift)
    if kind == "masked":
        x = torch.ones(6, 2, 3)
        x[:4, 1] = -1
    else:
        x = torch.cat((-torch.rand(3, 3), torch.rand(3, 3)))
    with pytest.raises(RuntimeError, match="for some examples than for others"):
        lt.empirical_ntk(net, x)


def test_nothing_is_left_behind():
    def alive():
        gc.collect()
        return sum(1 for each in gc.get_objects() if issubclass(type(each), torch.Tensor))

    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), torch.randn(3, 3)
    counts = []
    for _ in range(3):
        lt.empirical_ntk(net, x)
        counts.append(alive())
    assert counts[1] == counts[2]


def prefer(form, monkeypatch):
    def preferred(parameter, kind, outputs, *_):
        candidate = form(parameter, kind, outputs)
        return candidate if candidate.possible else contractions.ParameterSpace(parameter, kind, outputs)

    monkeypatch.setattr(plan, "_cheapest", preferred)


@pytest.mark.parametrize("make, form", thinned([make for make in NETWORKS if make is not resnet18], contractions.FORMS))
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_every_contraction_gives_the_same(make, form, monkeypatch, full_kernel):
    net, x = build(make)
    net, x, full = net.double(), double(x), full_kernel(make)
    prefer(form, monkeypatch)
    monkeypatch.setattr(contractions, "CACHED", 1)  # the smallest pieces
    monkeypatch.setattr(contractions, "BLOCK", 1)
    for kind in KINDS:
        assert_equal(lt.empirical_ntk(net, x, kind=kind), reduced(full, kind), torch.float64)


def smallest_memory(*args, **kwargs):
    """The least that is enough, of ever larger numbers."""

    def enough(memory):
        try:
            plan_ntk(*args, **kwargs, max_memory=memory)
        except ValueError:
            return False
        return True

    numbers = [int(2 ** (exponent / 8)) for exponent in range(64, 248)]
    return numbers[bisect.bisect_left(numbers, True, key=enough)]


@pytest.mark.parametrize("kind, n2", thinned(KINDS, (None, 4)))
def test_tiles_of_any_size_give_the_same(kind, n2):
    net, x1 = build(convolutions)
    net = net.double()
    x1 = torch.randn(11, *x1.shape[1:], dtype=torch.float64)
    x2 = None if n2 is None else torch.randn(n2, *x1.shape[1:], dtype=torch.float64)
    expected = reduced(reference(net, x1, x2), kind)
    least, seen = smallest_memory(net, x1, x2, kind), set()
    for memory in (least, 2 * least, 3 * least, 5 * least, 16 * least):
        tiling = plan_ntk(net, x1, x2, kind, max_memory=memory)
        seen.add((tiling.block, tiling.columns))
        assert_equal(lt.empirical_ntk(net, x1, x2, kind, max_memory=memory), expected, torch.float64)
    assert len(seen) >= 3 and min(seen)[0] == 1 and any(11 % block for block, _ in seen)


@pytest.mark.parametrize("form, kind, n2", thinned(contractions.FORMS, KINDS, (None, 2)))
def test_outputs_in_groups_give_the_same(kind, n2, form, monkeypatch):
    def forward(self, x):
        return torch.tanh(self.head(self.linear(x)).mean(1) @ self.matrix.sin())

    prefer(form, monkeypatch)
    parts = {"linear": nn.Linear(3, 20), "head": nn.Linear(20, 20), "matrix": nn.Parameter(torch.randn(20, 7))}
    net, x1 = Lambda(forward, **parts).double(), torch.randn(3, 2, 3, dtype=torch.float64)
    x2 = None if n2 is None else torch.randn(n2, 2, 3, dtype=torch.float64)
    expected = reduced(reference(net, x1, x2), kind)
    least = smallest_memory(net, x1, x2, kind)
    groups = set()
    for memory in (least, 5 * least // 4, 3 * least // 2, 2 * least, 3 * least):
        groups.add(plan_ntk(net, x1, x2, kind, max_memory=memory).outputs)
        assert_equal(lt.empirical_ntk(net, x1, x2, kind, max_memory=memory), expected, torch.float64)
    assert min(groups) < 7 and {2, 4} & groups  # of which 7 outputs leave some over


def test_kernel_of_two_sets_is_a_block_of_the_kernel_of_both():
    net, x = build(used_twice)
    net, x = net.double(), torch.randn(7, *x.shape[1:], dtype=torch.float64)
    whole = lt.empirical_ntk(net, x)
    torch.testing.assert_close(lt.empirical_ntk(net, x[:3], x[3:]), whole[:3, 3:])
    eigenvalues = torch.linalg.eigvalsh(whole.transpose(1, 2).flatten(2).flatten(0, 1))
    assert eigenvalues.min() > -1e-13 * eigenvalues.max()


def test_at_other_weights_and_of_a_centered_model():
    net, x = build(convolutions)
    model = lt.CenteredModel(net.double(), 2.0)
    x = x.double()
    for theta in model.theta.values():
        nn.init.normal_(theta, std=0.1)
    expected = reference(model.to_module(), x)
    torch.testing.assert_close(lt.empirical_ntk(model, x), expected)
    torch.testing.assert_close(lt.empirical_ntk(net, x, weights=model.weights()), expected)
    single = copy.deepcopy(net).float()
    assert_equal(lt.empirical_ntk(single, x.float(), weights=model.weights(torch.float64)), expected, torch.float64)


def test_at_the_weights_of_a_state_dict():
    net = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    net.register_buffer("0 counts", torch.arange(3))
    x = torch.randn(2, 3)
    values = {"0 counts": net.get_buffer("0 counts")} | net.double().state_dict()
    torch.testing.assert_close(lt.empirical_ntk(net.float(), x, weights=values), reference(net, x))
    with pytest.raises(ValueError, match=r"'0.bias' of shape \(1,\).* it is \(3,\)"):
        lt.empirical_ntk(net, x, weights={"0.bias": torch.zeros(1)})


@pytest.mark.parametrize("dtype", (torch.bfloat16, torch.float16))
def test_networks_of_half_precision_have_kernels_in_float32(dtype):
    net, x = build(convolutions)
    net, x = net.to(dtype), x.to(dtype)
    kernel = lt.empirical_ntk(net, x)
    assert net[0].weight.dtype == dtype
    assert_equal(kernel, reference(net, x), torch.float32)


def test_embeddings_with_a_largest_norm_are_left_as_they_were():
    net = nn.Sequential(nn.Embedding(5, 3, max_norm=0.5), nn.Flatten(), nn.Tanh(), nn.Linear(6, 2)).double()
    tokens, before = torch.randint(5, (3, 2)), net[0].weight.detach().clone()
    kernel = lt.empirical_ntk(net, tokens)
    operator = kernel_operator(net, tokens) @ np.eye(6)
    assert torch.equal(net[0].weight, before)
    expected = reference(net, tokens)
    torch.testing.assert_close(kernel, expected)
    np.testing.assert_allclose(operator, expected.transpose(1, 2).reshape(6, 6).detach(), atol=1e-12)


def test_the_module_is_left_as_it_was():
    class Counting(nn.Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x):
            self.calls += 1
            return super().forward(x)

    net, x = Counting(), torch.randn(4, 3)
    net.weight.grad = torch.ones_like(net.weight)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    matmul, state = torch.backends.cuda.matmul, torch.get_rng_state()
    setting = matmul.allow_tf32
    lt.empirical_ntk(net, x)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert net.weight.grad.eq(1).all() and net.bias.grad is None and net.bias.requires_grad
    assert matmul.allow_tf32 == setting and torch.equal(state, torch.get_rng_state()) and not x.requires_grad


def test_inputs_that_the_network_works_on_in_place_are_left_as_they_were():
    def forward(self, x):
        return torch.tanh(self.linear(x.mul_(0.5))) * self.scale

    def pure(self, x):
        return forward(self, x.clone())

    parts = {"linear": nn.Linear(3, 4), "scale": nn.Parameter(torch.randn(4))}
    x = torch.randn(5, 3, dtype=torch.float64)
    before = x.clone()
    kernel = lt.empirical_ntk(Lambda(forward, **parts).double(), x)
    operator = Jacobian(Lambda(forward, **parts), x)
    assert np.array_equal(operator @ np.ones(20), operator @ np.ones(20))
    assert torch.equal(x, before)
    torch.testing.assert_close(kernel, reference(Lambda(pure, **parts), x))


def test_partly_frozen_and_unused_parameters():
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    net.spare = nn.Linear(2, 2).double()
    net.forward = lambda x: net[2](net[1](net[0](x)))
    net[0].weight.requires_grad_(False)
    net[2].bias.requires_grad_(False)
    x = torch.randn(3, 3, dtype=torch.float64)
    torch.testing.assert_close(lt.empirical_ntk(net, x), reference(net, x))


def test_the_plan_says_what_is_done():
    net = lt.models.vgg11(width=0.125)
    text = str(plan_ntk(net, torch.randn(6, 3, 32, 32), kind="trace", max_memory="20MiB"))
    assert "trace kernel, 6 symmetric, 10 outputs" in text and "20 MiB" in text
    for part in ("parameter space", "position space", "GFLOP", "features.conv3_1.weight", "linear.bias"):
        assert part in text


@pytest.mark.parametrize("kind", KINDS)
def test_planned_flops_are_those_that_are_done(kind):
    """Against torch's own count of the matrix products and convolutions."""

    def added_product(_, left, right, **__):
        return 2 * left[0] * left[1] * right[1]

    net, x1, x2 = lt.models.vgg11(width=0.125), torch.randn(8, 3, 32, 32), torch.randn(5, 3, 32, 32)
    planned, kernel = 2 * plan_ntk(net, x1, x2, kind).multiply_adds(), prepare(net, x1, x2, kind)
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: added_product}) as counter:
        kernel.compute()
    assert planned == pytest.approx(counter.get_total_flops(), rel=1e-3)


@pytest.mark.parametrize("memory", (0, "much", "4 GiB of memory", -3))
def test_memory_that_is_not_one(memory):
    with pytest.raises(ValueError, match="max_memory.*4GiB"):
        lt.empirical_ntk(nn.Linear(2, 2), torch.randn(2, 2), max_memory=memory)


def test_memory_that_is_not_enough():
    with pytest.raises(ValueError, match="too small for one example"):
        lt.empirical_ntk(lt.models.vgg11(width=0.125), torch.randn(2, 3, 32, 32), max_memory="100 KB")


class Mixing(nn.Linear):
    def forward(self, x):
        x = super().forward(x)
        return x - x.mean(0)


class MixingWithoutGradient(nn.Linear):
    def forward(self, x):
        return super().forward(x) * x.detach().abs().mean()


class Random(nn.Linear):
    def forward(self, x):
        return torch.nn.functional.dropout(super().forward(x))


def refused(net, message, x=None):
    with pytest.raises(ValueError, match=message):
        lt.empirical_ntk(net, torch.randn(4, 3) if x is None else x)


def test_refusals():
    refused(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), r"'1' mixes the examples.*net.eval")
    refused(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)).eval(), "give it running statistics")
    refused(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.1)), r"'1' is random.*net.eval")
    refused(Random(3, 2), "draws random numbers")
    refused(Mixing(3, 2), "mixes the examples")
    refused(MixingWithoutGradient(3, 2), "mixes the examples")
    refused(nn.Sequential(nn.Embedding(4, 3), Mixing(3, 2)), "mixes the examples", torch.arange(4))
    refused(nn.Linear(3, 2).requires_grad_(False), "no trainable parameters")
    refused(nn.LSTM(3, 2, batch_first=True), "must be a tensor.*not tuple", torch.randn(2, 4, 3))
    refused(nn.Linear(3, 2), "different numbers of examples", (torch.randn(2, 3), torch.randn(3, 3)))
    refused(nn.Linear(3, 2), "no examples", torch.randn(0, 3))
    net, x = nn.Linear(3, 2), torch.randn(2, 3)
    with pytest.raises(ValueError, match="unknown kind 'half'"):
        lt.empirical_ntk(net, x, kind="half")
    with pytest.raises(ValueError, match="does not have"):
        lt.empirical_ntk(net, x, weights={"9.weight": x})


def test_further_refusals():
    net, x = nn.Sequential(nn.Conv1d(1, 2, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()), torch.randn(2, 1, 8)
    with pytest.raises(ValueError, match=r"\(1, 8\).*x2.*\(1, 11\).*kernel_operator"):
        lt.empirical_ntk(net, x, torch.randn(3, 1, 11))
    complex_filter = Lambda(
        lambda self, x: torch.fft.irfft(torch.fft.rfft(self.linear(x)) * self.filter, n=4),
        linear=nn.Linear(4, 4),
        filter=nn.Parameter(torch.randn(3, dtype=torch.cfloat)),
    )
    refused(complex_filter, "'filter' is complex", torch.randn(3, 4))
    with torch.inference_mode(), pytest.raises(RuntimeError, match="inference_mode"):
        lt.empirical_ntk(net, x)
    layer = nn.TransformerEncoderLayer(4, 2, 8, 0.0, batch_first=True)
    checkpointed = Lambda(lambda self, x: checkpoint(self.layer, x, use_reentrant=False).mean(1), layer=layer)
    refused(checkpointed, "checkpoint.*switch", torch.randn(3, 5, 4))
    checkpointed = Lambda(lambda self, x: checkpoint(self.layer, x, use_reentrant=False), layer=nn.Linear(3, 2))
    x = torch.randn(3, 3)
    torch.testing.assert_close(lt.empirical_ntk(checkpointed, x), reference(checkpointed, x).float())


def test_a_network_that_has_diverged_has_a_kernel_of_no_numbers():
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    nn.init.constant_(net[0].weight, torch.inf)
    assert lt.empirical_ntk(net, torch.randn(3, 3)).isnan().any()


def test_precisions_are_exact_within_and_as_they_were_after():
    cuda, cudnn, seen = torch.backends.cuda.matmul, torch.backends.cudnn, []
    settings, name, off, on = (cuda, cudnn), "allow_tf32", False, True
    if hasattr(cuda, "fp32_precision"):  # since torch 2.9
        settings, name = (cuda, cudnn.conv, cudnn.rnn, torch.backends.mkldnn.matmul), "fp32_precision"
        off, on = "ieee", "tf32"
    before = [getattr(setting, name) for setting in settings]

    def forward(self, x):
        seen.append([getattr(setting, name) for setting in settings])
        return self.linear(x)

    try:
        for setting in settings:
            setattr(setting, name, on)
        lt.empirical_ntk(Lambda(forward, linear=nn.Linear(3, 2)), torch.randn(3, 3))
        assert all(getattr(setting, name) == on for setting in settings)
    finally:
        for setting, value in zip(settings, before, strict=True):
            setattr(setting, name, value)
    assert seen and all(value == off for values in seen for value in values)


def test_autocast_is_off():
    net, x = build(convolutions)
    expected = lt.empirical_ntk(net, x)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(lt.empirical_ntk(net, x), expected)
        assert (x[0, 0] @ x[0, 0]).dtype == torch.bfloat16


def test_layers_that_depend_on_the_examples_are_refused():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x):
            x = self.first(x)
            return self.second(x) if len(x) > 3 else x

    with pytest.raises(RuntimeError, match="calls other layers for some examples"):
        lt.empirical_ntk(Routed(), torch.randn(5, 2))


def test_examples_that_are_ordered_by_their_values_are_refused():
    def forward(self, x, length):
        order = length.argsort(descending=True)
        return self.b(torch.tanh(self.a(x[order])))[order.argsort()]

    net = Lambda(forward, a=nn.Linear(3, 4), b=nn.Linear(4, 2))
    x, length = torch.randn(6, 3), torch.tensor([9, 8, 7, 3, 5, 4])  # the first three are in order
    with pytest.raises(RuntimeError, match="orders them by their values"):
        lt.empirical_ntk(net, (x, length))
    torch.testing.assert_close(lt.empirical_ntk(net, (x, length.flip(0))), reference(net, (x, length)).float())


def test_an_input_overwritten_after_its_layer_is_refused():
    class Overwriting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x):
            x = x + 1
            y = self.linear(x)
            x.mul_(2)
            return y

    with pytest.raises(RuntimeError, match="in place"):
        lt.empirical_ntk(Overwriting(), torch.randn(4, 3))


def test_the_reference_is_that_of_finite_differences():
    net, x = build(convolutions)
    net, x = net.double(), x[:1].double()
    jacobians, step = jacobian(net, x)[0], 1e-6
    parameter = net[0].weight
    with torch.no_grad():
        before = net(x)
        parameter[0, 0, 0, 0] += step
        slope = (net(x) - before) / step
    torch.testing.assert_close(jacobians[:, 0], slope[0], rtol=1e-4, atol=1e-7)
