"""The centered model inside what people put around models: compilers, DDP, memory formats, autocast."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import lazytorch as lt


def network():
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(128, 5))


def randomised(net, alpha=1e4):
    model = lt.CenteredModel(net, alpha)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for theta in model.theta.values():
            theta.copy_(torch.randn(theta.shape, generator=generator))
    return model


@pytest.fixture
def x():
    return torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_channels_last(x):
    expected = randomised(network())(x)
    last = torch.channels_last
    for model in (randomised(network()).to(memory_format=last), randomised(network().to(memory_format=last))):
        assert model.theta["0.weight"].is_contiguous(memory_format=last)
        torch.testing.assert_close(model(x.to(memory_format=last)), expected, rtol=1e-4, atol=1e-4)


OUTPUTS = 6


class Convolutions(TorchDispatchMode):
    """Whether input and weight of each convolution, and the gradient but of the output, are in channels_last."""

    def __init__(self):
        super().__init__()
        self.found: list = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten.convolution, torch.ops.aten.convolution_backward):
            of_output = func.overloadpacket is torch.ops.aten.convolution_backward and len(args[2]) == OUTPUTS
            own = args[1:3] if of_output else args[:3]
            tensors = [t for t in own if isinstance(t, torch.Tensor) and t.dim() == 4]
            self.found.append([t.is_contiguous(memory_format=torch.channels_last) for t in tensors])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("alpha", (1.0, 1e7, math.inf))
def test_channels_last_stay_so(x, alpha):
    layers = (
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 1),
        nn.GELU(),
    )
    net = nn.Sequential(*layers, nn.MaxPool2d(3, 2, 1), nn.Conv2d(5, OUTPUTS, 1))
    expected, model = randomised(net, alpha), randomised(net.to(memory_format=torch.channels_last), alpha)
    expected(x).square().sum().backward()
    x = x.to(memory_format=torch.channels_last)
    with Convolutions() as seen:
        model(x).square().sum().backward()
    assert len(seen.found) >= 9 and all(map(all, seen.found))
    for name, theta in expected.theta.items():
        torch.testing.assert_close(model.theta[name].grad, theta.grad, rtol=1e-3, atol=1e-3 * theta.grad.abs().max())


def test_without_gradients(x):
    expected = randomised(network())(x)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            torch.testing.assert_close(randomised(network())(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("alpha", (100.0, math.inf))
def test_a_compiled_module_is_the_module(x, alpha):
    expected = randomised(network(), alpha)(x)
    compiled = randomised(torch.compile(network(), backend="eager"), alpha)
    assert list(compiled.theta) == [f"_orig_mod.{name}" for name, _ in network().named_parameters()]
    torch.testing.assert_close(compiled(x), expected, rtol=0, atol=0)
    in_place = network()
    in_place.compile(backend="eager")
    torch.testing.assert_close(randomised(in_place, alpha)(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("alpha", (100.0, math.inf))
def test_a_compiled_centered_model(x, alpha):
    plain, model = randomised(network(), alpha), randomised(network(), alpha)
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(2):
        outputs = [one(x) for one in (plain, compiled)]
        torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-4)
    for output in outputs:
        output.square().mean().backward()
    for expected, theta in zip(plain.theta.values(), model.theta.values(), strict=True):
        torch.testing.assert_close(theta.grad, expected.grad, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(model.buffers_at_w(), plain.buffers_at_w())


@pytest.mark.parametrize("alpha", (1.0, 1e7, math.inf))
def test_autocast_to_bfloat16_has_its_digits_at_every_alpha(x, alpha):
    """bfloat16 has 8 bits: a few per cent, and no worse where f(w) - f(w_0) is far below its rounding."""
    model = randomised(network(), alpha).eval()
    with torch.autocast("cpu", torch.bfloat16):
        output = model(x)
    assert output.dtype == torch.bfloat16
    expected = model(x)
    assert (output - expected).norm() <= 0.05 * expected.norm()


NORMS = {
    "batch": lambda: nn.BatchNorm2d(8),
    "batch, evaluated": lambda: nn.BatchNorm2d(8).eval(),
    "group": lambda: nn.GroupNorm(2, 8),
    "layer": lambda: nn.LayerNorm((8, 6, 6)),
}


@pytest.mark.parametrize("alpha", (3.0, 1e7, math.inf))
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("everywhere", (False, True))
def test_normalisation_trains_in_bfloat16(x, norm, alpha, everywhere):
    """Under autocast, and in a network of that type; the statistics are in float32."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), NORMS[norm](), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
    model, short = (randomised(each, alpha) for each in (net, copy.deepcopy(net)))
    expected = torch.autograd.grad(model(x).square().mean(), list(model.parameters()))
    if everywhere:
        short, x = short.bfloat16(), x.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=not everywhere):
        output = short(x)
    found = torch.autograd.grad(output.float().square().mean(), list(short.parameters()))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == (torch.bfloat16 if everywhere else torch.float32)
        assert (one.float() - other).norm() <= 0.1 * other.norm() + 1e-3 * torch.stack(
            [g.norm() for g in expected]
        ).max()


def test_distributed_data_parallel():
    script = Path(__file__).with_name("distributed_training.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
