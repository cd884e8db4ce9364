"""What is done of all layers at once: weights at w, batch norm's running statistics, and so how many operators run."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import lazytorch as lt

ALPHA = 10.0


class Counted(TorchDispatchMode):
    """How often each operator that is not a view runs."""

    def __init__(self):
        super().__init__()
        self.calls: dict = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.is_view:
            self.calls[function] = self.calls.get(function, 0) + 1
        return function(*args, **(kwargs or {}))


class Weights(nn.Module):
    """Weights of every kind: of a value that does not depend on theta, as they are, transposed, twice, in a norm."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = nn.Conv2d(2, 4, 3), nn.Linear(4, 4)
        self.groups, self.rows, self.scale = nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.Parameter(torch.rand(4))

    def forward(self, x):
        h = self.groups(torch.tanh(self.first(x))).mean((2, 3))
        h = self.rows(self.twice(self.twice(h))) * self.scale
        return self.scale * h @ self.twice.weight


def randomised(net, **options):
    model = lt.CenteredModel(net, ALPHA, **options)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model


def differentiated(model, x):
    model.zero_grad()
    output = model(x)
    output.square().sum().backward()
    return [output.detach(), *(theta.grad for theta in model.theta.values())]


def test_values_of_weights_at_w_are_formed_at_once_and_change_nothing():
    torch.manual_seed(0)
    model, x = randomised(Weights()), torch.randn(3, 2, 5, 5)
    with Counted() as counted:
        together = differentiated(model, x)
    assert counted.calls[torch.ops.aten._foreach_add.List] == 1
    (program,) = model._traces
    assert len(program._factors) == 5  # each but the first convolution's, of which one is also transposed
    program._factors = []
    torch.testing.assert_close(differentiated(model, x), together, rtol=0, atol=0)


class Shared(nn.Module):
    """One norm in two places, which then uses what it has averaged."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3), nn.BatchNorm1d(4)

    def forward(self, x):
        h = self.norm(torch.tanh(self.norm(self.first(x))))
        return self.last(h) * self.norm.running_var - self.norm.running_mean


def test_statistics_that_are_updated_twice_and_read_are_those_of_two_passes():
    torch.manual_seed(0)
    net, x = Shared().double(), torch.randn(6, 3, dtype=torch.float64)
    model = randomised(net)
    direct = lt.CenteredModel(net, ALPHA, difference="direct")
    direct.load_state_dict(copy.deepcopy(model.state_dict()))
    for _ in range(2):
        torch.testing.assert_close(differentiated(model, x), differentiated(direct, x), rtol=1e-10, atol=1e-10)
    changes = [each.buffer_differences() for each in (model, direct)]
    assert all(change.any() for change in changes[0].values())
    torch.testing.assert_close(*changes, rtol=1e-10, atol=1e-10)


def perceptron():
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))


def vit():
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    return torchvision.models.VisionTransformer(image_size=16, patch_size=8, num_classes=2, **sizes)


FAMILIES = {
    "perceptron": (perceptron, (4, 8)),
    "ResNet-18, batch norm": (torchvision.models.resnet18, (2, 3, 32, 32)),
    "VGG-11": (lambda: lt.models.vgg11(0.125), (2, 3, 32, 32)),
    "ViT": (vit, (2, 3, 16, 16)),
    "EfficientNet-B0": (torchvision.models.efficientnet_b0, (2, 3, 32, 32)),
    "ConvNeXt-tiny": (torchvision.models.convnext_tiny, (2, 3, 32, 32)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_has_at_most_three_and_a_half_times_the_operators_of_a_plain_one(family):
    build, shape = FAMILIES[family]
    torch.manual_seed(0)
    net, x = build(), torch.randn(shape)
    counts = []
    for model in (lt.CenteredModel(net, 100.0), net):
        target = torch.ones_like(model(x).detach())  # traces
        with Counted() as counted:
            F.mse_loss(model(x), target).backward()
        counts.append(sum(counted.calls.values()))
    assert counts[0] <= 3.5 * counts[1]
