"""Kernels of modules whose backward pass calls them again, or that keep tensors from call to call."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import lazytorch as lt
from lazytorch.kernels import Jacobian, kernel_operator
from lazytorch.kernels.tangent import prepare
from lazytorch.kernels.verification import check_an_entry


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(checkpoint(lambda t: self.second(self.first(t).tanh()).tanh(), x, use_reentrant=False))


class _Step(torch.autograd.Function):
    """A step of Euler's, whose backward pass calls the field again, as adjoint methods do."""

    @staticmethod
    def forward(ctx, field, y, *parameters):
        ctx.field = field
        ctx.save_for_backward(y, *parameters)
        with torch.no_grad():
            return y + field(y) / 4

    @staticmethod
    def backward(ctx, cotangent):
        y, *parameters = ctx.saved_tensors
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            gradients = torch.autograd.grad(y + ctx.field(y) / 4, (y, *parameters), cotangent, allow_unused=True)
        return None, *gradients


class Adjoint(nn.Module):
    def __init__(self):
        super().__init__()
        self.field, self.last = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)), nn.Linear(4, 2)

    def forward(self, x):
        for _ in range(2):
            x = _Step.apply(self.field, x, *self.field.parameters())
        return self.last(x)


class Caching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self._kept = nn.Linear(4, 2), None

    def forward(self, x):
        if self._kept is None:
            self._kept = self.linear.weight.sin()
        return x @ self._kept.T


class Closing(nn.Module):
    """Its forward is a closure, which no copy of it takes along."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.forward = lambda x: self.linear(x).tanh()


def jacobian(net, weights, x):
    """(n, 2, P), by one backward pass of a network of its own for each output."""
    net = net if isinstance(net, Closing) else copy.deepcopy(net)
    own = {name: p.detach().clone() for name, p in net.named_parameters()}
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(weights[name])
    rows = []
    for example in x:
        for output in range(2):
            net._kept = None
            outputs = net(example[None])[0, output]
            gradients = torch.autograd.grad(outputs, list(net.parameters()), materialize_grads=True)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.copy_(own[name])
    return torch.stack(rows).view(len(x), 2, -1)


@pytest.mark.parametrize("kind", (Checkpointed, Adjoint, Caching, Closing))
def test_the_kernel_at_any_weights_and_again(kind):
    torch.manual_seed(0)
    net, x = kind().double(), torch.randn(5, 4, dtype=torch.float64)
    own = {name: p.detach().clone() for name, p in net.named_parameters()}
    others = {name: torch.randn_like(p) for name, p in own.items()}
    for weights in (own, others, own):
        expected = jacobian(net, weights, x)
        kernel = torch.einsum("ikp,jlp->ijkl", expected, expected)
        torch.testing.assert_close(lt.empirical_ntk(net, x, weights=weights), kernel, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(
            lt.empirical_ntk(net, x, kind="trace", weights=weights), kernel.diagonal(0, 2, 3).sum(-1)
        )
        back = Jacobian(net, x, weights=weights).T @ np.ones(10)
        torch.testing.assert_close(torch.from_numpy(back), expected.sum((0, 1)), rtol=1e-10, atol=1e-12)
        if kind is not Adjoint:  # which has no forward mode
            product = torch.from_numpy(kernel_operator(net, x, weights=weights) @ np.ones(10))
            torch.testing.assert_close(product.view(5, 2), kernel.sum((1, 3)), rtol=1e-10, atol=1e-12)
    assert all(p.equal(own[name]) and isinstance(p, nn.Parameter) for name, p in net.named_parameters())
    assert getattr(net, "_kept", None) is None


def test_a_network_that_has_been_called_and_keeps_its_outputs():
    class Keeping(nn.Linear):
        def forward(self, x):
            self.kept = super().forward(x)
            return self.kept.tanh()

    net, x = Keeping(4, 2), torch.randn(5, 4)
    expected = lt.empirical_ntk(net, x)
    net(x)
    torch.testing.assert_close(lt.empirical_ntk(net, x), expected)
    assert lt.CenteredModel(net, 10.0)(x).eq(0).all()


@pytest.mark.parametrize("kind", ("full", "trace", "diagonal"))
def test_an_entry_that_is_wrong_is_found(kind):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)), torch.randn(5, 4)
    kernel = prepare(net, x, kind=kind)
    computed = kernel.compute()
    check_an_entry(kernel, computed)
    with pytest.raises(RuntimeError, match="the kernel of Sequential has .* where the gradients of two examples give"):
        check_an_entry(kernel, 1.1 * computed)
