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
    output.abs().square().sum().backward()
    return [output.detach(), *(theta.grad for theta in model.theta.values())]


def test_values_of_weights_at_w_are_formed_at_once_and_change_nothing():
    torch.manual_seed(0)
    model, x = randomised(Weights()), torch.randn(3, 2, 5, 5)
    with Counted() as counted:
        together = differentiated(model, x)
    assert counted.calls[torch.ops.aten._foreach_add.List] == 1
    (program,) = model._traces
    assert len(program.factors) == 4  # each but the first convolution's
    program.factors = []
    program._codes.clear()
    with Counted() as counted:
        torch.testing.assert_close(differentiated(model, x), together, rtol=0, atol=0)
    assert torch.ops.aten._foreach_add.List not in counted.calls


class Shared(nn.Module):
    """One norm in two places, which then uses what it has averaged."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=0.3), nn.BatchNorm1d(4)

    def forward(self, x):
        h = self.norm(torch.tanh(self.norm(self.first(x))))
        return self.last(h) * self.norm.running_var - self.norm.running_mean


class Viewed(nn.Module):
    """It takes a view of what a norm averages before the norm does, and adds what that has averaged to a product."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False)

    def forward(self, x):
        variance, h = self.norm.running_var.view(1, -1), torch.tanh(self.first(x))
        before, product, normed = h.detach() * variance, self.last(h), self.norm(h)
        after = normed * variance
        return torch.stack([before, after, after * self.norm.running_var.view(1, -1), product + self.norm.running_mean])


class VarianceAlone(nn.Module):
    """Its norm keeps no mean."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.register_buffer("variance", torch.ones(4))

    def forward(self, x):
        return F.batch_norm(torch.tanh(self.first(x)), x.new_zeros(4), self.variance, training=True)


class Unread(nn.Module):
    """Nothing reads what its norm returns."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        h = torch.tanh(self.first(x))
        self.norm(h)
        return h


@pytest.mark.parametrize("build", [Shared, Viewed, VarianceAlone, Unread])
def test_statistics_that_are_updated_are_those_of_two_passes(build):
    torch.manual_seed(0)
    net, x = build().double(), torch.randn(6, 3, dtype=torch.float64)
    model = randomised(net)
    direct = lt.CenteredModel(net, ALPHA, difference="direct")
    direct.load_state_dict(copy.deepcopy(model.state_dict()))
    for _ in range(2):
        torch.testing.assert_close(differentiated(model, x), differentiated(direct, x), rtol=1e-10, atol=1e-10)
    changes = [each.buffer_differences() for each in (model, direct)]
    assert all(change.any() for change in changes[0].values())
    torch.testing.assert_close(*changes, rtol=1e-10, atol=1e-10)


def test_models_that_share_their_start_update_a_norm_in_two_places_as_each_alone():
    torch.manual_seed(0)
    net, x = Shared(), torch.randn(6, 3)
    alone, *models = (randomised(net) for _ in range(3))
    alone(x)
    list(lt.SharedStart(models)(x))
    torch.testing.assert_close(models[1].initial_buffers(), alone.initial_buffers(), rtol=0, atol=0)


class Stopped(nn.Module):
    """A product or the addition of a bias to it has no gradient."""

    def __init__(self, product: bool):
        super().__init__()
        self.first, self.last, self.product = nn.Linear(3, 4), nn.Linear(4, 4), product

    def forward(self, x):
        h = torch.tanh(self.first(x))
        with torch.set_grad_enabled(not self.product):
            product = h @ self.last.weight
        with torch.set_grad_enabled(self.product):
            moved = product + self.last.bias
        return moved * h


@pytest.mark.parametrize("product", [False, True])
def test_a_bias_is_no_part_of_a_product_that_has_no_gradient_where_it_has(product):
    torch.manual_seed(0)
    net, x = Stopped(product).double(), torch.randn(6, 3, dtype=torch.float64)
    model = randomised(net)
    direct = lt.CenteredModel(net, ALPHA, difference="direct")
    direct.load_state_dict(model.state_dict())
    for one in (model, direct):
        one(x).square().sum().backward()
    for name, theta in model.theta.items():
        expected = direct.theta[name].grad
        torch.testing.assert_close(theta.grad, expected, rtol=1e-10, atol=1e-10, msg=name)


STEPS, WIDTH = 20, 5
#: How a recurrent net comes by its weight: once or at every step, and what that multiplies.
RECURRENT = {
    "transposed": lambda net, h, computed: h @ net.weight[:WIDTH].t(),
    "computed": lambda net, h, computed: h @ computed,
    "computed and transposed": lambda net, h, computed: F.linear(h, computed),
    "to the left": lambda net, h, computed: (net.weight[WIDTH:] @ h.t()).t(),
    "einsum": lambda net, h, computed: torch.einsum("bi,ji->bj", h, net.weight[:WIDTH]),
}


class Recurrent(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step, self.weight = step, nn.Parameter(torch.randn(2 * WIDTH, WIDTH))

    def forward(self, h):
        computed = torch.sin(self.weight[:WIDTH])
        for _ in range(STEPS):
            h = torch.tanh(self.step(self, h, computed))
        return h


@pytest.mark.parametrize("how", RECURRENT)
def test_the_steps_of_a_recurrent_net_keep_one_weight_at_w(how):
    torch.manual_seed(0)
    model, kept = randomised(Recurrent(RECURRENT[how])), {}

    def keep(t):
        if t.numel() == WIDTH**2:
            kept[t.untyped_storage().data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        model(torch.randn(2, WIDTH)).sum().backward()
    assert 1 <= len(kept) < 5


def test_a_gradient_of_complex_weights_is_one_that_optimizers_take():
    model = randomised(nn.Sequential(*(nn.Linear(3, 3, dtype=torch.complex64) for _ in range(2))))
    model(torch.randn(4, 3, dtype=torch.complex64)).abs().sum().backward()
    torch.optim.Adam(model.parameters()).step()


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("frozen", [None, "1.weight", "0.bias", "1.bias"])
def test_a_linear_layer_takes_its_weight_as_it_lies_in_memory(dtype, bias, frozen):
    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Linear(3, 3, bias=bias, dtype=dtype) for _ in range(3)))
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(name != frozen)
    x, model = torch.randn(4, 3, dtype=dtype), randomised(net)
    output, *gradients = differentiated(model, x)
    (program,) = model._traces
    assert torch.ops.aten.t.default not in {node.target for node in program.nodes}
    direct = lt.CenteredModel(net, ALPHA, "direct")
    direct.load_state_dict(model.state_dict())
    torch.testing.assert_close([output, *gradients], differentiated(direct, x))


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
