"""Networks with complex weights: norms, weights and buffers keep both parts, at every scale."""

import math

import pytest
import torch
from torch import nn

import lazytorch as lt


class FourierLayer(nn.Module):
    """Multiplies the lowest frequencies by complex matrices, as a Fourier neural operator does."""

    def __init__(self, channels=3, modes=4):
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(channels, channels, modes, dtype=torch.complex64) / channels)

    def forward(self, x):
        found = torch.fft.rfft(x)
        kept = torch.zeros_like(found)
        kept[..., : self.modes] = torch.einsum("bix,iox->box", found[..., : self.modes], self.weight)
        return torch.fft.irfft(kept, n=x.shape[-1])


class Mean(nn.Module):
    """Subtracts the mean that it has seen, of complex numbers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros((), dtype=torch.complex64))

    def forward(self, z):
        if self.training:
            self.mean.mul_(0.9).add_(0.1 * z.mean())
        return z - self.mean


def operator():
    torch.manual_seed(0)
    return nn.Sequential(FourierLayer(), nn.GELU(), FourierLayer(), nn.Flatten(), nn.Linear(3 * 16, 2))


def doubled(net):
    return net._apply(lambda t: t.to(torch.complex128) if t.is_complex() else t.double())


@pytest.mark.parametrize("alpha", (1.0, 100.0))
def test_a_fourier_operator_has_the_gradient_of_two_passes(alpha):
    x, found = torch.randn(5, 3, 16, dtype=torch.float64), []
    for difference in ("divided", "direct"):
        model = lt.CenteredModel(doubled(operator()), alpha, difference)
        torch.manual_seed(1)
        for theta in model.theta.values():
            nn.init.normal_(theta)
        (model(x) - 1).square().sum().backward()
        found.append([theta.grad for theta in model.theta.values()])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-10 * alpha)


@pytest.mark.parametrize("alpha", (1.0, 1e7, math.inf))
def test_a_fourier_operator_trains(alpha):
    x = torch.randn(40, 3, 16, generator=torch.Generator().manual_seed(0))
    trainer = lt.Trainer(lt.CenteredModel(operator(), alpha), (x, x[:, :2, 0]), (x, x[:, :2, 0]), lr=0.3, batch_size=8)
    summary = trainer.fit(15)
    assert summary["train_loss"] < 0.8 * trainer.member.state.rows[0]["train_loss"]
    assert summary["linearization_error"] < 1e-5 or alpha == 1


def test_norms_have_both_parts():
    net = nn.Linear(1, 1, bias=False, dtype=torch.complex64)
    with torch.no_grad():
        net.weight.fill_(3 + 4j)
    model = lt.CenteredModel(net, 10.0)
    with torch.no_grad():
        model.theta["weight"].fill_(5j)
    assert model.theta_norm() == 5 and model.displacement() == pytest.approx(0.1)
    assert model.displacement_by_module() == {"": pytest.approx(0.1)}


def test_weights_in_float64_are_of_two_such_parts():
    model = lt.CenteredModel(nn.Linear(1, 1, bias=False, dtype=torch.complex64), 1e7)
    with torch.no_grad():
        model.theta["weight"].fill_(1 + 2j)
    moved = model.weights(torch.float64)["weight"] - model.initial_weights()["weight"]
    assert moved.dtype == torch.complex128
    torch.testing.assert_close(moved * 1e7, torch.tensor([[1 + 2j]], dtype=torch.complex128), rtol=1e-7, atol=0)


@pytest.mark.parametrize("alpha", (1.0, 100.0))
def test_complex_buffers_move_with_the_weights(alpha):
    def build():
        torch.manual_seed(0)
        return doubled(nn.Sequential(nn.Linear(2, 2, dtype=torch.complex64), Mean()))

    x = torch.randn(7, 2, dtype=torch.complex128, generator=torch.Generator().manual_seed(1))
    model = lt.CenteredModel(build(), alpha)
    for theta in model.theta.values():
        nn.init.ones_(theta)
    moved, start = model.to_module(), build()
    outputs = model(x)
    torch.testing.assert_close(outputs, alpha * (moved(x) - start(x)), rtol=1e-10, atol=1e-12 * alpha)
    torch.testing.assert_close(model.buffers_at_w()["1.mean"], moved[1].mean, rtol=1e-12, atol=0)
    torch.testing.assert_close(model.eval()(x), alpha * (moved.eval()(x) - start.eval()(x)), rtol=1e-10, atol=1e-12)
