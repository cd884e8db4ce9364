"""Matrix-free operators against the explicit Jacobian in float64."""

import numpy as np
import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.kernels import Jacobian, extreme_singular_values, kernel_operator, kernel_spectrum, top_eigenpairs


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4), nn.Tanh(), nn.Linear(4, 3)
    )
    net[4].bias.requires_grad_(False)
    return net.eval()


def explicit(net, x):
    """(n K, P) in float64, one backward pass a row."""
    rows = []
    for example in x.double():
        for output in net(example[None])[0]:
            gradients = torch.autograd.grad(output, [p for p in net.parameters() if p.requires_grad], retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("batch_size", (1, 3, 128))
def test_products(batch_size):
    net, x = network(), torch.randn(4, 2, 5, 5)
    operator = Jacobian(net, x, batch_size=batch_size)
    jacobian = explicit(network().double(), x)
    assert operator.shape == jacobian.shape and operator.dtype == np.float64
    np.testing.assert_allclose(operator @ np.eye(jacobian.shape[1]), jacobian, atol=1e-13)
    np.testing.assert_allclose(operator.T @ np.eye(len(jacobian)), jacobian.T, atol=1e-13)
    assert net[0].weight.dtype == torch.float32  # the module is not changed


def test_kernels_and_other_weights():
    net, x1, x2 = network(), torch.randn(4, 2, 5, 5), torch.randn(3, 2, 5, 5)
    model = lt.CenteredModel(net, 2.0)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    j1, j2 = (explicit(model.to_module(torch.float64), x) for x in (x1, x2))
    vector = np.random.default_rng(0).standard_normal(9)
    for source, weights in ((model.double(), None), (net, model.double().weights())):
        kernel = kernel_operator(source, x1, x2, weights=weights)
        np.testing.assert_allclose(kernel @ vector, j1 @ (j2.T @ vector), rtol=1e-11)
    np.testing.assert_allclose(kernel_operator(model, x1) @ np.eye(12), j1 @ j1.T, rtol=1e-11, atol=1e-11)


def test_attention_and_several_inputs():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.attention = nn.Embedding(5, 4), nn.MultiheadAttention(4, 2, batch_first=True)

        def forward(self, tokens, scale):
            h = self.embed(tokens)
            return self.attention(h, h, h)[0] * scale[:, None, None]

    torch.manual_seed(0)
    net, inputs = Attend().eval(), (torch.randint(5, (3, 6)), torch.rand(3))
    operator = Jacobian(net, inputs, batch_size=2)
    u, v = np.random.default_rng(0).standard_normal(operator.shape[0]), np.ones(operator.shape[1])
    assert u @ (operator @ v) == pytest.approx((operator.T @ u) @ v, rel=1e-12)
    net = net.double()
    step, before = 1e-6, [p.detach().clone() for p in net.parameters()]
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for parameter, start in zip(net.parameters(), before, strict=True):
                parameter.copy_(start + sign * step)
            ends.append(net(inputs[0], inputs[1].double()).flatten().numpy())
    np.testing.assert_allclose(operator @ v, (ends[0] - ends[1]) / (2 * step), atol=1e-8)


@pytest.mark.parametrize("n", (7, 40))  # formed, and by Lanczos
def test_eigenpairs_and_singular_values(n):
    net, x = lt.models.mlp(width=16, depth=1, classes=3, channels=5, size=1, activation="tanh"), torch.randn(n, 5)
    jacobian = explicit(net.double(), x)
    kernel = jacobian @ jacobian.T
    values, vectors = top_eigenpairs(kernel_operator(net, x), 4)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(kernel)[::-1][:4], rtol=1e-10)
    np.testing.assert_allclose(kernel @ vectors, vectors * values, atol=1e-8 * values[0])
    full = kernel_spectrum(lt.empirical_ntk(net, x.double()))
    np.testing.assert_allclose(full.eigenvalues[:4], values, rtol=1e-10)
    singular = np.linalg.svd(jacobian, compute_uv=False)
    smallest, largest = extreme_singular_values(Jacobian(net, x))
    assert largest == pytest.approx(singular[0], rel=1e-10)
    assert smallest == pytest.approx(singular[-1], rel=1e-6, abs=1e-7 * largest)


def test_more_rows_than_parameters():
    net, x = nn.Linear(4, 1, bias=False), torch.randn(300, 4)
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(extreme_singular_values(Jacobian(net, x)), [singular[-1], singular[0]], rtol=1e-10)


def test_under_no_grad():
    net, x = network(), torch.randn(3, 2, 5, 5)
    jacobian = explicit(network().double(), x)
    with torch.no_grad():
        kernel = kernel_operator(net, x) @ np.eye(9)
    np.testing.assert_allclose(kernel, jacobian @ jacobian.T, atol=1e-12)


def test_refusals():
    net, x = network(), torch.randn(2, 2, 5, 5)
    with pytest.raises(ValueError, match="no examples"):
        Jacobian(net, x[:0])
    with pytest.raises(ValueError, match="different numbers of examples"):
        Jacobian(nn.Bilinear(3, 3, 2), (torch.randn(3, 3), torch.randn(5, 3)))
    assert Jacobian(net, [x]).shape == Jacobian(net, x).shape
    with pytest.raises(ValueError, match="batch_size must be 1 or more, got 0"):
        Jacobian(net, x, batch_size=0)
    with pytest.raises(ValueError, match="mixes the examples"):
        Jacobian(network().train(), x)
    with pytest.raises(ValueError, match="no trainable parameters"):
        Jacobian(nn.ReLU(), x)
    with pytest.raises(ValueError, match="ask for 1 to 6"):
        top_eigenpairs(kernel_operator(net, x), 7)
    with pytest.raises(ValueError, match="must be a tensor"):
        Jacobian(nn.LSTM(5, 3), x[:, 0])
