import pytest
import torch

from lazytorch.models import mlp, two_layer


@pytest.mark.parametrize(
    ("activation", "function"),
    [("relu", torch.relu), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid), ("identity", lambda x: x)],
)
def test_mlp_is_its_formula(activation, function):
    net = mlp(width=5, depth=3, classes=4, channels=2, size=3, activation=activation).double()
    x = torch.randn(7, 2, 3, 3, dtype=torch.float64)
    h = x.flatten(1)
    for layer in (net.hidden1, net.hidden2, net.hidden3):
        h = function(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(net(x), h @ net.output.weight.T + net.output.bias)
    assert net.hidden1.weight.shape == (5, 18)


def test_mlp_of_depth_zero_is_linear():
    net = mlp(depth=0, classes=4, channels=6, size=1)
    assert [name for name, _ in net.named_parameters()] == ["output.weight", "output.bias"]
    assert net(torch.randn(3, 6)).shape == (3, 4)


def test_unknown_activation():
    with pytest.raises(ValueError, match="unknown activation 'swosh': choose one of relu, tanh"):
        mlp(activation="swosh")


def test_two_layer_is_its_formula():
    net = two_layer(neurons=11, classes=2, channels=6, size=1).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    a, b = net.hidden.weight, net.output.weight
    expected = sum(b[:, j] * (x @ a[j]).clamp(min=0)[:, None] for j in range(11))
    torch.testing.assert_close(net(x), expected)
    assert {name for name, _ in net.named_parameters()} == {"hidden.weight", "output.weight"}


def test_two_layer_is_homogeneous_of_degree_two():
    net = two_layer(neurons=11, classes=3, channels=2, size=3)
    x = torch.randn(5, 2, 3, 3)
    before = net(x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter *= 2
    torch.testing.assert_close(net(x), 4 * before)
