"""Batch norm whose running statistics are the mean over all batches."""

import copy

import pytest
import torch
from torch import nn

import lazytorch as lt


@pytest.mark.parametrize("alpha", (2.0, 1e3))
def test_cumulative_averages_are_those_of_both_networks(alpha):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 4, 2), nn.BatchNorm1d(4, momentum=None), nn.Flatten(), nn.Linear(12, 2)).double()
    model = lt.CenteredModel(net, alpha)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    start, end = copy.deepcopy(net), model.to_module()
    for x in torch.randn(3, 6, 1, 4, dtype=torch.float64):
        torch.testing.assert_close(model(x), alpha * (end(x) - start(x)), rtol=1e-10, atol=1e-10)
    assert model.tracing[0] == 1
    torch.testing.assert_close(model.initial_buffers(), dict(start.named_buffers()))
    torch.testing.assert_close(model.buffers_at_w(), dict(end.named_buffers()))
    model.eval(), start.eval(), end.eval()
    torch.testing.assert_close(model(x), alpha * (end(x) - start(x)), rtol=1e-10, atol=1e-10)


def test_linearized_cumulative_averages_are_those_at_w_0():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 2)).double()
    model, limit = lt.linearize(net), lt.CenteredModel(net, torch.inf)
    for name, theta in model.theta.items():
        nn.init.normal_(theta)
        limit.theta[name].data.copy_(theta.data)
    for x in torch.randn(3, 6, 3, dtype=torch.float64):
        torch.testing.assert_close(model(x), limit(x))
        net(x)
    torch.testing.assert_close(model.initial_buffers(), dict(net.named_buffers()))
