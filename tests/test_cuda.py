"""On a CUDA device: the CPU's results, float32 that is exact, reduced precision, compiling, and steps that never wait.

LAZYTORCH_TEST_DEVICE=cpu tries the tests themselves where there is none.
"""

import math
import os
import statistics

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss

import lazytorch as lt
from lazytorch.data import DeviceData
from lazytorch.products import tf32
from lazytorch.runs import find
from lazytorch.training.step import step_of

pytestmark = pytest.mark.cuda
DEVICE = os.environ.get("LAZYTORCH_TEST_DEVICE", "cuda")
ALPHAS = (1.0, 1e7, math.inf)


class ViT(nn.Module):
    """A small vision transformer on images of 32 pixels."""

    def __init__(self):
        super().__init__()
        self.patches, self.positions = nn.Conv2d(3, 16, 8, 8), nn.Parameter(0.02 * torch.randn(16, 16))
        block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, activation="gelu", batch_first=True, norm_first=True)
        self.blocks, self.head = nn.TransformerEncoder(block, 2, enable_nested_tensor=False), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.blocks(self.patches(x).flatten(2).mT + self.positions).mean(1))


def with_batch_norm():
    first = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))


def vgg():
    net = nn.Sequential(*lt.models.vgg11(0.1).features, nn.BatchNorm2d(51), nn.Flatten(), nn.LazyLinear(5))
    net(torch.zeros(2, 3, 32, 32))
    return net


NETWORKS = {"vgg": vgg, "batch norm": with_batch_norm, "vit": ViT}
networks = pytest.mark.parametrize("name", NETWORKS)


def network(name):
    torch.manual_seed(0)
    return NETWORKS[name]().double(), torch.randn(6, 3, 32, 32, dtype=torch.float64)


def moved(net, alpha, dtype=torch.float64, device=DEVICE):
    """The model somewhere else than at the start."""
    model = lt.CenteredModel(net, alpha)
    generator = torch.Generator().manual_seed(1)
    for theta in model.theta.values():
        theta.data.copy_(0.3 * torch.randn(theta.shape, generator=generator, dtype=torch.float64))
    return model.to(device, dtype)


def results(model, x):
    """Output and gradient, of one batch, in float64 on the CPU. TF32 is off, which torch has on in convolutions."""
    parameter = next(model.parameters())
    model.zero_grad()
    with tf32(False):
        output = model(x.to(parameter.device, parameter.dtype))
        (output - 1).square().mean().backward()
    gradient = torch.cat([theta.grad.flatten() for theta in model.theta.values()])
    return output.detach().double().cpu(), gradient.double().cpu()


def assert_close(found, expected, share):
    for left, right in zip(found, expected, strict=True):
        assert (left - right).norm() <= share * right.norm()


@networks
@pytest.mark.parametrize("alpha", ALPHAS)
def test_steps_are_those_of_the_cpu(name, alpha):
    net, x = network(name)
    models = [lt.CenteredModel(net, alpha), lt.CenteredModel(net, alpha).to(DEVICE)]
    for model in models:
        inputs = x.to(next(model.parameters()).device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            (model(inputs) - 1).square().mean().backward()
            optimizer.step()
    host, device = models[0].state_dict(), models[1].cpu().state_dict()
    torch.testing.assert_close(host, device, rtol=1e-9, atol=1e-9)


@networks
@pytest.mark.parametrize("alpha", (1e7, math.inf))
def test_float32_is_exact(name, alpha):
    net, x = network(name)
    assert_close(results(moved(net, alpha, torch.float32), x), results(moved(net, alpha, device="cpu"), x), 2e-5)


@networks
@pytest.mark.parametrize("alpha", (1e7, math.inf))
def test_bfloat16_keeps_its_digits(name, alpha):
    net, x = network(name)
    with torch.autocast(DEVICE, torch.bfloat16):
        found = results(moved(net, alpha, torch.float32), x)
    assert_close(found, results(moved(net, alpha, device="cpu"), x), 0.2)


@pytest.mark.slow
@networks
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_compiled_step_is_that_of_the_program(name, alpha):
    net, x = network(name)
    compiled = moved(net, alpha, torch.float32)
    expected = results(compiled, x)
    compiled.compile()
    assert_close(results(compiled, x), expected, 1e-3)
    x, y = x.float().to(DEVICE), torch.ones(6, 5, device=DEVICE)
    with tf32(False):
        _, output = compiled.differentiate(mse_loss, y, x)
    gradient = torch.cat([theta.grad.flatten() for theta in compiled.theta.values()])
    assert_close((output.double().cpu(), gradient.double().cpu()), expected, 1e-3)


@networks
@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_step_never_waits_for_the_device(name, alpha):
    net, _ = network(name)
    data = DeviceData(torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8), torch.arange(16) % 5, device=DEVICE)
    trainer = lt.Trainer(lt.CenteredModel(net.float().to(DEVICE), alpha), data, data, batch_size=8, probes=())
    trainer.fit(1)  # which traces
    step = step_of([trainer.member])
    batches = list(data.epoch(8, seed=0, epoch=1))
    if DEVICE == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            step(*batch)
    finally:
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    assert trainer.member.error is None


@pytest.mark.slow
@pytest.mark.parametrize("precision", ("tf32", "bf16"))
def test_reduced_precision_trains_at_every_alpha_as_float32_does(lazytorch, precision):
    """Mean test accuracy on the digits over 5 seeds, within 1.5 points."""
    arguments = ("seed=0,1,2,3,4", "alpha=1,1e7", "epochs=16", "evaluate_every=16", "probe_size=2", "sweep.fused=true")
    code, _, err = lazytorch("-m", *arguments, f"precision=float32,{precision}", f"device={DEVICE}")
    assert code == 0, err
    accuracies: dict = {}
    for run in find(["runs"]):
        key = run.config["precision"], run.summary["alpha"]
        accuracies.setdefault(key, []).append(run.summary["test_accuracy"])
    for alpha in (1.0, 1e7):
        full, reduced = (accuracies[name, alpha] for name in ("float32", precision))
        assert len(full) == len(reduced) == 5
        assert abs(statistics.mean(full) - statistics.mean(reduced)) <= 0.015
