"""Equivariant layers of e3nn."""

import torch
from e3nn import nn, o3

IRREPS = o3.Irreps("4x0e + 2x1o + 1x2e")


def product():
    net = o3.FullyConnectedTensorProduct(IRREPS, IRREPS, IRREPS)
    return net, (IRREPS.randn(2, -1), IRREPS.randn(2, -1)), {}


def gate():
    activated = nn.Gate("4x0e", [torch.tanh], "2x0e", [torch.sigmoid], "2x1o")
    return torch.nn.Sequential(o3.Linear(IRREPS, activated.irreps_in), activated), (IRREPS.randn(2, -1),), {}


def norms():
    net = torch.nn.Sequential(o3.Linear(IRREPS, IRREPS), nn.NormActivation(IRREPS, torch.sigmoid), nn.BatchNorm(IRREPS))
    return net, (IRREPS.randn(4, -1),), {}


MODELS = {
    "Linear": ("net(x)", lambda: (o3.Linear(IRREPS, IRREPS), (IRREPS.randn(2, -1),), {})),
    "FullyConnectedTensorProduct": ("net(x, y)", product),
    "Linear, Gate": ("net(x)", gate),
    "Linear, NormActivation, BatchNorm": ("net(x)", norms),
    "FullyConnectedNet": ("net(x)", lambda: (nn.FullyConnectedNet([4, 16, 3], torch.tanh), (torch.randn(2, 4),), {})),
}
