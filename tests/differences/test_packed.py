"""Packed sequences in every recurrent layer, against a subtraction in float64."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import lazytorch as lt


class Packed(nn.Module):
    """Outputs, padded anew, last states and lengths."""

    def __init__(self, kind, *, is_sorted=False, **settings):
        super().__init__()
        self.layer, self.settings = kind(3, 4, **settings), {"batch_first": settings.get("batch_first", False)}
        self.is_sorted = is_sorted

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, enforce_sorted=self.is_sorted, **self.settings)
        output, state = self.layer(packed)
        output, lengths = pad_packed_sequence(output, padding_value=0.5, total_length=6, **self.settings)
        return output, state, lengths


LAYERS = [
    (nn.LSTM, {"batch_first": True, "is_sorted": True}),
    (nn.LSTM, {"proj_size": 2, "bidirectional": True}),
    (nn.GRU, {"bidirectional": True, "num_layers": 2, "batch_first": True}),
    (nn.RNN, {}),
    (nn.RNN, {"nonlinearity": "relu", "bias": False}),
]


@pytest.mark.parametrize("alpha", [0.5, 100.0, float("inf")])
@pytest.mark.parametrize(("kind", "settings"), LAYERS)
def test_packed(kind, settings, alpha):
    torch.manual_seed(0)
    net = Packed(kind, **settings)
    model = lt.CenteredModel(net, alpha)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    x = torch.randn(3, 5, 3) if "batch_first" in settings else torch.randn(5, 3, 3)
    start = {name: t.double() for name, t in net.state_dict().items()}
    theta = dict(zip(start, (t.detach().double() for t in model.parameters()), strict=True))
    scale = min(alpha, 1e6)
    end = {name: t + theta[name] / scale for name, t in start.items()}
    for lengths in (torch.tensor([5, 3, 2]), torch.tensor([4, 4, 1])):
        at_end, at_start = (torch.func.functional_call(net, w, (x.double(), lengths)) for w in (end, start))
        output, state, found = model(x, lengths)
        tolerance = {"rtol": 2e-5, "atol": 2e-5, "check_dtype": False}
        torch.testing.assert_close(output, scale * (at_end[0] - at_start[0]), **tolerance)
        for each in zip(*((s if isinstance(s, tuple) else (s,)) for s in (state, at_end[1], at_start[1])), strict=True):
            torch.testing.assert_close(each[0], scale * (each[1] - each[2]), **tolerance)
        assert found.tolist() == lengths.tolist()
    assert model.tracing[0] == 2
    model(x, torch.tensor([5, 3, 2]))
    assert model.tracing[0] == 2


def test_gradients_flow_into_every_step():
    net = Packed(nn.GRU).double()
    model = lt.CenteredModel(net, 10.0)
    x, lengths = torch.randn(5, 3, 3).double(), torch.tensor([2, 5, 3])
    model(x, lengths)[0].square().sum().backward()
    assert all(not t.grad.any() for t in model.parameters())  # at w_0 the output is 0
    model(x, lengths)[0].sum().backward()
    weights = {name: t.requires_grad_() for name, t in net.state_dict().items()}
    output = torch.func.functional_call(net, weights, (x, lengths))[0]
    gradients = torch.autograd.grad(output.sum(), list(weights.values()))
    torch.testing.assert_close([t.grad for t in model.parameters()], list(gradients))


def test_dropout_between_layers_is_refused():
    model = lt.CenteredModel(Packed(nn.LSTM, num_layers=2, dropout=0.5), 10.0)
    with pytest.raises(lt.UntraceableModule, match="dropout between the layers"):
        model(torch.randn(5, 3, 3), torch.tensor([5, 3, 2]))
    assert model.eval()(torch.randn(5, 3, 3), torch.tensor([5, 3, 2]))[0].shape == (6, 3, 4)
