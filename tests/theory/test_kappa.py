"""The criterion kappa against norms of explicit tensors."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lazytorch as lt
from lazytorch.theory import Kappa, kappa

from .test_differentials import tensors


def network(activation=nn.Tanh, outputs=2):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, outputs)).double()


def largest(second):
    """max |B(u, u)| over unit u, of two outputs, or of one: the largest eigenvalue of c . B over all unit c."""
    angles = torch.linspace(0, math.pi, 3001, dtype=torch.float64)[:, None, None]
    matrices = angles.cos() * second[0] + angles.sin() * second[-1] if len(second) == 2 else second
    return torch.linalg.eigvalsh(matrices).abs().max().item()


def explicit(net, x, y):
    value, first, second = tensors(copy.deepcopy(net), x)
    n = len(x)
    norms = (value - y.flatten()).norm(), torch.linalg.matrix_norm(first, 2), largest(second)
    residual, first, second = (float(norm) / math.sqrt(n) for norm in norms)
    return residual, first, second, residual * second / first**2


X, Y = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).double(), torch.tensor([[1.0], [-1.0]]).double()


@pytest.mark.parametrize(("activation", "n", "outputs"), ((nn.Tanh, 1, 1), (nn.Tanh, 1, 2), (nn.ReLU, 2, 1)))
def test_is_that_of_the_explicit_tensors(activation, n, outputs):
    net, x, y = network(activation, outputs), X[:n], Y[:n].expand(n, outputs)
    found = kappa(net, x, y, starts=4)
    expected = explicit(net, x, y)
    assert (found.residual, found.first) == pytest.approx(expected[:2], rel=1e-9)
    assert (found.second, found.kappa) == pytest.approx(expected[2:], rel=1e-3)
    assert found.second <= expected[2] * (1 + 1e-6) and found.is_lower_bound and 0 <= found.spread < 1


def test_operator_norms_are_others_than_frobenius_norms():
    _, first, second = tensors(network(), X[:1])
    found = kappa(network(), X[:1], Y[:1].expand(1, 2), starts=1)
    assert found.second < 0.95 * second.norm() and found.first < 0.95 * first.norm()


def test_a_centered_model_has_kappa_over_alpha_of_what_starts_at_zero():
    """With h = f - f(w_0), made of f and a frozen copy: theirs is computed without any division by alpha."""

    class Difference(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.net, self.start, self.factor = network(), network().requires_grad_(False), factor

        def forward(self, x):
            return self.factor * (self.net(x) - self.start(x))

    y, alpha = Y.expand(2, 2), 50.0
    of_h = kappa(Difference(1.0), X, y, starts=1)
    for model in (Difference(alpha), lt.CenteredModel(network(), alpha)):
        assert kappa(model, X, y, starts=1).kappa == pytest.approx(of_h.kappa / alpha, rel=1e-6)
    ratio = [kappa(nn.Sequential(network(), Times(factor)), X, y, starts=1).kappa for factor in (1.0, alpha)]
    assert ratio[1] > 2 * ratio[0] / alpha  # of what does not start at zero


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_a_centered_model_that_has_moved():
    """alpha (f(w) - f(w_0)) as a function of w, written out."""
    net, y, alpha = network(), Y.expand(2, 2), 3.0
    model = lt.CenteredModel(net, alpha)
    torch.manual_seed(0)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    found, at_w = kappa(model, X, y, starts=1), model.to_module()
    residual = (alpha * (at_w(X) - net(X)) - y).norm().item() / math.sqrt(2)
    assert found.residual == pytest.approx(residual, rel=1e-9)
    plain = kappa(at_w, X, y, starts=1)
    assert found.first == pytest.approx(plain.first, rel=1e-9)
    assert found.second == pytest.approx(plain.second / alpha, rel=1e-3)


def test_what_is_linear_in_its_parameters_has_none():
    y = Y.expand(2, 2)
    for model in (lt.CenteredModel(network(), math.inf), lt.linearize(network())):
        found = kappa(model, X, y)
        assert (found.kappa, found.second, found.is_lower_bound) == (0, 0, False) and found.first > 0
    assert kappa(nn.Linear(3, 2), X, y).kappa == 0


def test_labels_modes_and_generators():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Tanh(), nn.Linear(4, 3))
    labels, x = torch.tensor([2, 0, 1, 1]), torch.randn(4, 3)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    by_label, by_target = kappa(net, x, labels, starts=1), kappa(net.eval(), x, F.one_hot(labels, 3), starts=1)
    assert isinstance(by_label, Kappa) and by_label == by_target
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state) and next(net.parameters()).dtype == torch.float32


def test_refusals():
    for arguments, message in (
        ((network(), X, Y.expand(2, 2), 0), "starts must be 1 or more"),
        ((network(), X, Y), "y has shape"),
        ((nn.Sequential(network(), Times(0.0)), X, Y.expand(2, 2)), "move with none of its trainable parameters"),
    ):
        with pytest.raises(ValueError, match=message):
            kappa(*arguments)
