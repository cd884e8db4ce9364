"""Custom functions with a backward of their own, of both styles, at every scale."""

import math

import pytest
import torch
from torch import nn

import lazytorch as lt


class Smooth(torch.autograd.Function):
    """x e^(c x), in the style with a context."""

    @staticmethod
    def forward(ctx, x, c):
        ctx.c = c
        ctx.save_for_backward(x)
        return x * (c * x).exp()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (1 + ctx.c * x) * (ctx.c * x).exp(), None


class SmoothInNewStyle(torch.autograd.Function):
    @staticmethod
    def forward(x, c):
        return x * (c * x).exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.c = inputs[1]
        ctx.save_for_backward(inputs[0])

    backward = Smooth.backward


class StraightThrough(torch.autograd.Function):
    """A sign whose gradient is that of the identity within [-1, 1]."""

    @staticmethod
    def forward(ctx, x, _):
        ctx.save_for_backward(x)
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() <= 1), None


class Reversed(torch.autograd.Function):
    """The identity, with a gradient of the other sign."""

    @staticmethod
    def forward(ctx, x, _):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient, None


class Several(torch.autograd.Function):
    """Two outputs, one of which has no gradient, and two inputs of which one is used twice."""

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        largest = x.argmax(-1)
        ctx.mark_non_differentiable(largest)
        return x * y, largest, x.sin()

    @staticmethod
    def backward(ctx, of_product, _, of_sine):
        x, y = ctx.saved_tensors
        return of_product * y + of_sine * x.cos(), of_product * x


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
        self.function = function

    def forward(self, x):
        if self.function is Several:
            product, largest, sine = Several.apply(self.first(x), self.second(x))
            return self.last(product + sine + sine.gather(-1, largest.unsqueeze(-1)))
        return self.last(self.function.apply(self.first(x), 0.5) * self.second(x))


def build(function):
    torch.manual_seed(0)
    return Net(function).double()


def with_theta(model):
    generator = torch.Generator().manual_seed(1)
    for theta in model.theta.values():
        nn.init.normal_(theta, generator=generator)
    return model


def outputs_and_gradients(model, x):
    output = model(x)
    return output.detach(), torch.autograd.grad(output.square().sum(), list(model.theta.values()))


FUNCTIONS = (Smooth, SmoothInNewStyle, StraightThrough, Reversed, Several)


@pytest.mark.parametrize("alpha", (1.0, 100.0))
@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_difference_is_forwards_and_the_gradient_its_own_backwards(function, alpha):
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    models = [with_theta(lt.CenteredModel(build(function), alpha, difference)) for difference in ("divided", "direct")]
    found = [outputs_and_gradients(model, x) for model in models]
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-11 * alpha)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_infinite_alpha_is_the_limit_and_so_is_the_linearization(function):
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    models = lt.CenteredModel(build(function), 1e9), lt.CenteredModel(build(function), math.inf)
    found = [outputs_and_gradients(with_theta(m), x) for m in (*models, lt.linearize(build(function)))]
    for each in found[1:]:
        torch.testing.assert_close(each, found[0], rtol=1e-6, atol=1e-7)


class Pair(torch.autograd.Function):
    """Of whose outputs the last may not be used, nor its second argument."""

    @staticmethod
    def forward(ctx, x, unused):
        ctx.save_for_backward(x)
        return x * x, x + 1

    @staticmethod
    def backward(ctx, of_square, of_sum):
        return 2 * ctx.saved_tensors[0] * of_square + of_sum, torch.zeros_like(of_sum)


class Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        mask = torch.rand_like(x) > 0.5
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0]


class InPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(3)

    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient


class Around(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer, self.function, self.constant = nn.Linear(3, 3), function, torch.randn(5, 3).double()

    def forward(self, x):
        return self.function(self.layer(x), self.constant)


def changed_before(h, _):
    h = h.clone()
    h[:, 0] = 5.0
    return Pair.apply(h, h)[0]


@pytest.mark.parametrize(
    "function",
    (
        lambda h, _: h + Pair.apply(h, 2 * h)[0],
        changed_before,
        lambda h, c: Smooth.apply(h * c, 0.5) + Pair.apply(h, c)[1],
    ),
    ids=("an output and an argument that are not used", "changed in place before", "a constant argument"),
)
def test_functions_among_other_things(function):
    x, found = torch.randn(5, 3, dtype=torch.float64), []
    for difference in ("divided", "direct"):
        torch.manual_seed(0)
        found.append(
            outputs_and_gradients(with_theta(lt.CenteredModel(Around(function).double(), 10.0, difference)), x)
        )
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("function", "message"), ((Dropped, "Dropped draws random numbers"), (InPlace, "InPlace works in place"))
)
def test_functions_that_cannot_be_called_again_are_refused(function, message):
    model = lt.CenteredModel(Around(lambda h, _: function.apply(h.clone())), 10.0)
    with pytest.raises(lt.UnsupportedOperator, match=message):
        model(torch.randn(5, 3))


def test_functions_are_as_before_afterwards():
    own = torch.autograd.Function.apply
    with_theta(lt.CenteredModel(build(Smooth), 10.0))(torch.randn(5, 3, dtype=torch.float64))
    assert torch.autograd.Function.apply == own
    x = torch.tensor([1.0], requires_grad=True)
    Reversed.apply(x, None).backward()
    assert x.grad == -1
