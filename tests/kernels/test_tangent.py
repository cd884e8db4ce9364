"""The tangent kernel against explicit Jacobians in float64."""

import pytest
import torch
from torch import nn

import lazytorch as lt


def network():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(27, 4), nn.Tanh(), nn.Linear(4, 3)
    )
    net[4].bias.requires_grad_(False)
    return net.double().eval()


def jacobian(net, x):
    rows = []
    for example in x:
        for output in net(example[None])[0]:
            gradients = torch.autograd.grad(output, [p for p in net.parameters() if p.requires_grad], retain_graph=True)
            rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows).reshape(len(x), -1, len(rows[0]))


@pytest.mark.parametrize("n2", (None, 2))
def test_kernel_is_the_product_of_jacobians(n2):
    net = network()
    x1 = torch.randn(3, 2, 5, 5, dtype=torch.float64)
    x2 = x1 if n2 is None else torch.randn(n2, 2, 5, 5, dtype=torch.float64)
    expected = torch.einsum("ikp,jlp->ijkl", jacobian(net, x1), jacobian(net, x2))
    given = None if n2 is None else x2
    torch.testing.assert_close(lt.empirical_ntk(net, x1, given), expected)
    torch.testing.assert_close(
        lt.empirical_ntk(net, x1, given, kind="trace"), expected.diagonal(dim1=2, dim2=3).sum(-1)
    )
    torch.testing.assert_close(lt.empirical_ntk(net, x1, given, kind="diagonal"), expected.diagonal(dim1=2, dim2=3))


def test_tied_weights_and_layers_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.a(torch.tanh(self.b(torch.tanh(self.a(x)))))

    torch.manual_seed(0)
    net, x = Twice().double(), torch.randn(4, 3, dtype=torch.float64)
    expected = torch.einsum("ikp,jlp->ijkl", *[jacobian(net, x)] * 2)
    torch.testing.assert_close(lt.empirical_ntk(net, x), expected)


def test_at_other_weights_and_of_a_centered_model():
    net, x = network(), torch.randn(3, 2, 5, 5, dtype=torch.float64)
    model = lt.CenteredModel(net, 2.0)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    expected = lt.empirical_ntk(model.to_module(), x)
    torch.testing.assert_close(lt.empirical_ntk(model, x), expected)
    torch.testing.assert_close(lt.empirical_ntk(net, x, weights=model.weights()), expected)
    single = lt.empirical_ntk(network().float(), x.float(), weights=model.weights(torch.float64))
    assert single.dtype == torch.float64
    torch.testing.assert_close(single, expected, rtol=1e-5, atol=1e-5)


def test_refusals():
    net, x = network(), torch.randn(2, 2, 5, 5, dtype=torch.float64)
    with pytest.raises(ValueError, match="unknown kind 'half'"):
        lt.empirical_ntk(net, x, kind="half")
    with pytest.raises(ValueError, match="does not have"):
        lt.empirical_ntk(net, x, weights={"9.weight": x})
    with pytest.raises(ValueError, match=r"'2' mixes the examples.*eval"):
        lt.empirical_ntk(net.train(), x)


def test_drift_and_distance():
    k0 = torch.randn(3, 3, 2, 2, dtype=torch.float64)
    kt = k0 + 0.1 * torch.randn_like(k0)
    assert lt.kernel_drift(k0, kt) == pytest.approx(((kt - k0).norm() / k0.norm()).item())
    cosine = torch.cosine_similarity(k0.flatten(), kt.flatten(), dim=0).item()
    assert lt.kernel_distance(k0, kt) == pytest.approx(1 - cosine)
    assert lt.kernel_distance(k0, 3 * k0) == pytest.approx(0, abs=1e-15)
    assert lt.kernel_drift(k0, 3 * k0) == pytest.approx(2)
