"""The linearization of modules whose fast paths forward mode does not know."""

import torch
from torch import nn

import lazytorch as lt


def test_attention_in_evaluation_mode():
    torch.manual_seed(0)
    net = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True).double().eval()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    linear = lt.linearize(net)
    model = lt.CenteredModel(net, torch.inf)
    for name, theta in linear.theta.items():
        nn.init.normal_(theta)
        model.theta[name].data.copy_(theta.data)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(linear(x), model(x))
    assert torch.backends.mha.get_fastpath_enabled() == fast
