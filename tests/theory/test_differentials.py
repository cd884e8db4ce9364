"""First and second differentials against explicit tensors."""

import numpy as np
import pytest
import torch
from torch import nn

from lazytorch.theory import Differentials


class Twice(nn.Module):
    """One weight in two places, and one that is frozen."""

    def __init__(self):
        super().__init__()
        self.weight, self.frozen = nn.Parameter(torch.randn(3, 3)), nn.Parameter(torch.randn(3), requires_grad=False)

    def forward(self, x):
        return torch.sin(x @ self.weight) @ self.weight[:, :2] + (x * self.frozen).sum(1, keepdim=True)


NETWORKS = {
    "tanh": lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)),
    "relu": lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)),
    "linear": lambda: nn.Linear(3, 2),
    "twice": Twice,
}


def tensors(net, x):
    """h, Dh and D^2 h in the trainable parameters, formed, in float64."""
    net = net.double()
    trainable = {name: p for name, p in net.named_parameters() if p.requires_grad}
    start = torch.cat([p.detach().flatten() for p in trainable.values()])

    def h(w):
        parts = w.split([p.numel() for p in trainable.values()])
        values = {name: part.view_as(p) for (name, p), part in zip(trainable.items(), parts, strict=True)}
        return torch.func.functional_call(net, values, (x.double(),)).flatten()

    return h(start), torch.func.jacfwd(h)(start), torch.func.hessian(h)(start)


@pytest.mark.parametrize("name", NETWORKS)
def test_are_the_explicit_tensors(name):
    torch.manual_seed(0)
    net, x = NETWORKS[name](), torch.randn(5, 3)
    differentials = Differentials(net, x, batch_size=2)
    value, first, second = (each.detach().numpy() for each in tensors(net, x))
    rows, columns = first.shape
    u, v, c = (np.random.default_rng(1).standard_normal(size) for size in (columns, columns, rows))
    close = {"rtol": 1e-9, "atol": 1e-10}
    np.testing.assert_allclose(differentials.values(), value, **close)
    np.testing.assert_allclose(differentials @ v, first @ v, **close)
    np.testing.assert_allclose(differentials.second(u, v), second @ u @ v, **close)
    np.testing.assert_allclose(differentials.contracted(c) @ v, np.tensordot(c, second, 1) @ v, **close)
    if name == "relu":  # almost everywhere there are terms between layers alone
        assert second.any() and not second[:, :12, :12].any()


def test_through_a_layer_norm():
    """By differences of J, as torch.func.hessian is wrong there (torch 2.14)."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2)).double()
    x, start = torch.randn(5, 3), nn.utils.parameters_to_vector(net.parameters()).detach()
    differentials = Differentials(net, x)
    u, v, c = (np.random.default_rng(1).standard_normal(size) for size in (len(start), len(start), 10))
    ends = []
    for step in (1e-5, -1e-5):
        nn.utils.vector_to_parameters(start + step * torch.from_numpy(u), net.parameters())
        ends.append(Differentials(net, x) @ v)
    expected = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(differentials.second(u, v), expected, atol=1e-6)
    assert u @ (differentials.contracted(c) @ v) == pytest.approx(c @ expected, abs=1e-5)
