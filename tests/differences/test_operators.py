"""Rules of the other operators: a float64 difference of two evaluations at epsilon = 1, where nothing cancels, the same
rule in float64 where epsilon is small, and the operator's own derivative at epsilon = 0."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lazytorch as lt


class Call(nn.Module):
    """function(x; weight, bias) with two parameters of the given shapes."""

    def __init__(self, function, *shapes):
        super().__init__()
        self.function = function
        for index, shape in enumerate(shapes):
            self.register_parameter(f"p{index}", nn.Parameter(torch.randn(shape)))

    def forward(self, x):
        return self.function(x, *self.parameters())


def _batch_norm(x, w, b):
    return F.batch_norm(x + b[:, None, None], None, None, w, b, training=True)


CASES = {
    "linear": (lambda x, w, b: F.linear(x, w, b), (5, 7), [(3, 7), (3,)]),
    "linear twice": (lambda x, w, v: F.linear(F.linear(x, w), v), (5, 7), [(3, 7), (2, 3)]),
    "bmm": (lambda x, w: torch.bmm(x * w, (x + w).transpose(1, 2)), (2, 3, 5), [(3, 5)]),
    "conv": (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), (3, 2, 7, 6), [(4, 2, 3, 3), (4,)]),
    "conv of a pair": (
        lambda x, w, v: F.conv2d(F.conv2d(x, w, padding=1), v, dilation=2, groups=2),
        (3, 2, 7, 6),
        [(4, 2, 3, 3), (2, 2, 2, 2)],
    ),
    "transposed conv": (lambda x, w: F.conv_transpose2d(x + w.sum(), w, stride=2), (2, 3, 4, 4), [(3, 2, 3, 3)]),
    "conv without batch": (lambda x, w, b: F.conv2d(x * b[0], w, b), (2, 5, 5), [(3, 2, 3, 3), (3,)]),
    "conv1d": (lambda x, w, b: F.conv1d(x * b[0], w, b), (2, 3, 8), [(4, 3, 3), (4,)]),
    "product and quotient": (lambda x, w, b: (x * w - b) / (3 + w * w) + 1 / (4 + b * b), (5, 4), [(4,), (4,)]),
    "max pool": (lambda x, w: F.max_pool2d(x * w, 2), (2, 3, 6, 8), [(3, 6, 8)]),
    "overlapping max pool": (lambda x, w: F.max_pool2d(x * w, 3, 2, 1), (2, 3, 7, 9), [(3, 7, 9)]),
    "dilated max pool": (lambda x, w: F.max_pool2d(x * w, 2, 1, dilation=2), (2, 3, 7, 9), [(3, 7, 9)]),
    "max pool with ceil": (lambda x, w: F.max_pool2d(x * w, 2, 2, ceil_mode=True), (2, 3, 7, 5), [(3, 7, 5)]),
    "average pools": (
        lambda x, w: F.avg_pool2d(x * w, 2) + F.adaptive_avg_pool2d(x * w, (3, 4)),
        (2, 3, 6, 8),
        [(3, 6, 8)],
    ),
    "batch norm": (_batch_norm, (6, 3, 4, 4), [(3,), (3,)]),
    "layer norm": (lambda x, w, b: F.layer_norm(x * w, (4,), w, b), (5, 4), [(4,), (4,)]),
    "layer norm of two dimensions": (
        lambda x, w, b: F.layer_norm(x + w, (4, 3), w, b),
        (5, 4, 3),
        [(4, 3), (4, 3)],
    ),
    "layer norm, bias alone": (lambda x, w, b: F.layer_norm(x * w, (4,), None, b), (5, 4), [(4,), (4,)]),
    "group norm": (lambda x, w, b, v: F.group_norm(x * v, 2, w, b), (3, 6, 2, 4), [(6,), (6,), (6, 2, 4)]),
    "group norm without affine": (lambda x, v: F.group_norm(x * v, 3), (3, 6, 5), [(6, 5)]),
    "max pool in tiles of 3d": (lambda x, w: F.max_pool3d(x * w, (1, 2, 3)), (2, 3, 2, 4, 6), [(3, 2, 4, 6)]),
    "softmax": (lambda x, w: F.softmax(x * w, -1), (5, 4), [(4,)]),
    "log softmax": (lambda x, w: F.log_softmax(x * w, 0), (5, 4), [(4,)]),
    "reshape, concatenate, pad": (
        lambda x, w: F.pad(torch.cat([x * w, x], 1).flip(0).reshape(4, 10).t().mean(1), (1, 2), value=3.0),
        (5, 4),
        [(4,)],
    ),
}


def model_of(case, alpha):
    function, shape, parameters = CASES[case]
    torch.manual_seed(0)
    model = lt.CenteredModel(Call(function, *parameters).double(), alpha)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model, torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("alpha", (1.0, 30.0))
def test_difference_and_gradient_are_those_of_two_evaluations(case, alpha):
    model, x = model_of(case, alpha)
    direct = lt.CenteredModel(model.to_module(), alpha, difference="direct")
    direct.load_state_dict(model.state_dict())
    outputs, expected = model(x), direct(x)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(outputs)
    gradients = torch.autograd.grad(outputs, list(model.theta.values()), cotangent)
    torch.testing.assert_close(
        gradients, torch.autograd.grad(expected, list(direct.theta.values()), cotangent), rtol=1e-10, atol=1e-11
    )


@pytest.mark.parametrize("case", CASES)
def test_infinite_alpha_is_the_derivative(case):
    model, x = model_of(case, torch.inf)
    linear = lt.linearize(model.to_module())
    linear.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(x), linear(x), rtol=1e-12, atol=1e-12)


@pytest.mark.in_turn("alpha")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("alpha", (1e4, 1e7, 1e12))
def test_float32_is_accurate_at_large_alpha(case, alpha):
    model, x = model_of(case, alpha)
    with torch.no_grad():
        expected = model(x)
        outputs = model.float()(x.float())
    assert (outputs - expected).norm() <= 1e-5 * expected.norm()


NORMS = {
    "batch": lambda x, v: F.batch_norm(v * x, None, None, training=True),
    "layer": lambda x, v: F.layer_norm(v * x, (4, 4)),
    "group": lambda x, v: F.group_norm(v * x, 2),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", (0.0, 1e-4, 1.0))
def test_norms_are_accurate_where_the_spread_grows(norm, start):
    """Up to 10 at w, where the reciprocal deviation is small; at w_0 it is up to 300."""
    torch.manual_seed(0)
    model = lt.CenteredModel(Call(NORMS[norm], (6, 4, 4, 4)).double(), 10.0)
    with torch.no_grad():
        model.initial_weights()["p0"].mul_(start)
        nn.init.normal_(model.theta["p0"], std=100)
        x = torch.rand(6, 4, 4, 4, dtype=torch.float64)
        expected, outputs = model(x), model.float()(x.float())
    assert (outputs - expected).norm() <= 1e-6 * expected.norm()


def test_max_pool_gradient_goes_where_the_difference_decides():
    """In float32 at alpha = 1e8 the values at w tie; the differences do not."""
    net = Call(lambda x, w: F.max_pool2d(x + w, 2), (1, 2, 2))
    nn.init.ones_(net.p0)
    model = lt.CenteredModel(net, 1e8)
    with torch.no_grad():
        model.theta["p0"].copy_(torch.tensor([[[0.1, 0.2], [0.4, 0.3]]]))
    output = model(torch.zeros(1, 1, 2, 2))
    assert output.item() == pytest.approx(0.4)
    (gradient,) = torch.autograd.grad(output, list(model.theta.values()))
    assert gradient.flatten().tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16), ids=str)
@pytest.mark.parametrize("alpha", (1e2, 1e7))
@pytest.mark.parametrize("pool", (F.max_pool2d, F.adaptive_max_pool2d), ids=("tiles", "adaptive"))
def test_max_pool_of_short_types_holds_differences(dtype, alpha, pool):
    """Also where eps d is below the range of the type, as it is in float16."""
    torch.manual_seed(0)
    model, x = lt.CenteredModel(Call(lambda x, w: pool(x + w, 3), (6, 6)).to(dtype), alpha), torch.randn(2, 6, 6)
    nn.init.normal_(model.theta["p0"])
    with torch.no_grad():
        output, expected = model(x.to(dtype)), model.double()(x.to(dtype).double())
    assert output.dtype == dtype
    assert (output - expected).norm() <= 4 * torch.finfo(dtype).eps * expected.norm()


@pytest.mark.parametrize("alpha", (10.0, 1e7, torch.inf))
def test_interpolation_by_a_weight_that_crosses_one_half(alpha):
    """Torch's own form is another one there, with terms that jump."""
    torch.manual_seed(0)
    net = Call(lambda x, w: torch.lerp(x, x.flip(0), w), (6,))
    nn.init.constant_(net.p0, 0.5)
    model, x = lt.CenteredModel(net, alpha), torch.randn(4, 6)
    nn.init.normal_(model.theta["p0"])
    torch.testing.assert_close(model(x), model.theta["p0"] * (x.flip(0) - x), rtol=1e-5, atol=1e-6)


class InPlace(nn.BatchNorm2d):
    """Batch norm by the operator that other backends trace to."""

    def forward(self, x):
        arguments = (x, self.weight, self.bias, self.running_mean, self.running_var)
        if self.training:
            self.num_batches_tracked.add_(1)
            return torch.ops.aten._native_batch_norm_legit.default(*arguments, True, 0.1, 1e-5)[0]
        return torch.ops.aten._native_batch_norm_legit_no_training(*arguments, 0.1, 1e-5)[0]


class Functional(nn.BatchNorm2d):
    """Batch norm by the operator that returns the new statistics."""

    def forward(self, x):
        arguments = (x, self.weight, self.bias, self.running_mean, self.running_var, self.training, 0.1, 1e-5)
        out, _, _, mean, variance = torch.ops.aten._native_batch_norm_legit_functional(*arguments)
        if self.training:
            self.running_mean.copy_(mean)
            self.running_var.copy_(variance)
            self.num_batches_tracked.add_(1)
        return out


@pytest.mark.parametrize("other", (InPlace, Functional))
@pytest.mark.parametrize("mode", ("train", "eval"))
def test_batch_norm_is_the_same_by_the_operators_of_every_backend(mode, other):
    torch.manual_seed(0)
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)
    networks = [nn.Sequential(nn.Conv2d(3, 3, 1), kind(3)).double() for kind in (nn.BatchNorm2d, other)]
    models = [lt.CenteredModel(net, 10.0).train() for net in networks]
    for theta in models[0].theta.values():
        nn.init.normal_(theta)
    models[0](x)  # moves the running statistics
    models[1].load_state_dict(models[0].state_dict())
    outputs = [getattr(model, mode)()(x) for model in models]
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())
