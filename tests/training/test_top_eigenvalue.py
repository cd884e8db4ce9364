"""The probe of the kernel's largest eigenvalue against the explicit kernel."""

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.training.probes import make_probes


def test_is_the_kernels_at_w():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    model, x = lt.CenteredModel(net, 2.0), torch.randn(5, 4)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    kernel = lt.empirical_ntk(net, x, weights=model.weights(torch.float64)).transpose(1, 2).reshape(15, 15)
    (probe,) = make_probes(["top_eigenvalue"], x)
    assert probe(model)["top_eigenvalue"] == pytest.approx(torch.linalg.eigvalsh(kernel)[-1].item() / 15)
