"""On a CUDA device: the CPU's results, and training in reduced precision."""

import math
import statistics

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.runs import find

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("alpha", (1.0, 1e7, math.inf))
def test_a_step_on_cuda_is_the_step_on_the_cpu(alpha):
    torch.manual_seed(0)
    net = nn.Sequential(*lt.models.vgg11(0.1).features, nn.BatchNorm2d(51), nn.Flatten(), nn.LazyLinear(5)).double()
    x = torch.randn(6, 3, 32, 32, dtype=torch.float64)
    net(x)
    models = [lt.CenteredModel(net, alpha), lt.CenteredModel(net, alpha).cuda()]
    for model in models:
        inputs = x.to(next(model.parameters()).device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            (model(inputs) - 1).square().mean().backward()
            optimizer.step()
    host, device = models[0].state_dict(), models[1].cpu().state_dict()
    torch.testing.assert_close(host, device, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ("tf32", "bf16"))
def test_reduced_precision_trains_at_every_alpha_as_float32_does(lazytorch, precision):
    """Mean test accuracy on the digits over 5 seeds, within 1.5 points."""
    arguments = ("seed=0,1,2,3,4", "alpha=1,1e7", "epochs=16", "evaluate_every=16", "probe_size=2", "sweep.fused=true")
    code, _, err = lazytorch("-m", *arguments, f"precision=float32,{precision}", "device=cuda")
    assert code == 0, err
    accuracies: dict = {}
    for run in find(["runs"]):
        key = run.config["precision"], run.summary["alpha"]
        accuracies.setdefault(key, []).append(run.summary["test_accuracy"])
    for alpha in (1.0, 1e7):
        full, reduced = (accuracies[name, alpha] for name in ("float32", precision))
        assert len(full) == len(reduced) == 5
        assert abs(statistics.mean(full) - statistics.mean(reduced)) <= 0.015
