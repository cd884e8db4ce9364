"""The toy of the catapult against its recursion, and that against its two conserved directions."""

import math

import pytest
import torch

import lazytorch as lt
from lazytorch.theory.catapult import CatapultToy, catapult_recursion, toy_starts, train_toy

STEPS = 300


def toy(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return CatapultToy(*torch.randn(2, n, generator=generator, dtype=torch.float64))


def error(measured, expected, n):
    """Of outputs on the scale sqrt(n) lambda / 2 that they cannot exceed, and of kernels."""
    (f, kernel), (g, other) = measured, expected
    return max(((f - g) / (math.sqrt(n) * kernel / 2)).abs().max().item(), (kernel / other - 1).abs().max().item())


def printed_recursion(f, kernel, target, lr, n, steps):
    """With Delta for every f, as it is usually printed."""
    outputs, kernels = [f], [kernel]
    for _ in range(steps):
        delta = f - target
        f = target + (1 - lr * kernel + lr**2 * delta**2 / n) * delta
        kernel = kernel + lr * delta / n * (lr * kernel * delta - 4 * delta)
        outputs.append(f)
        kernels.append(kernel)
    return torch.stack(outputs), torch.stack(kernels)


@pytest.mark.parametrize("target", (0.0, 1.3))
@pytest.mark.parametrize("rate", (2.5, 3.5))
def test_the_trained_module_follows_the_recursion_and_not_the_printed_one(rate, target):
    net = toy(256)
    start = net.state()
    lr = rate / start[1].item()
    expected = catapult_recursion(*start, target, lr, 256, STEPS)
    printed = printed_recursion(*start, target, lr, 256, STEPS)
    measured = train_toy(net, target, lr, STEPS)
    assert len(measured[0]) == STEPS + 1 and error(measured, expected, 256) < 1e-9
    assert (error(measured, printed, 256) < 1e-9) == (target == 0.0)


def test_the_kernel_is_that_of_autograd():
    net = toy(50)
    output = net(torch.ones((), dtype=torch.float64))
    gradients = torch.autograd.grad(output, list(net.parameters()))
    torch.testing.assert_close(net.state()[1], sum(g.square().sum() for g in gradients), rtol=1e-14, atol=0)
    torch.testing.assert_close(net(torch.tensor([2.0, -1.0]).double()), output * torch.tensor([2.0, -1.0]).double())


@pytest.mark.parametrize(("rate", "target"), ((2.5, 0.0), (3.9, 0.0), (3.5, 20.0)))
def test_the_recursion_is_that_of_the_two_directions(rate, target):
    n, f, kernel = 4096, torch.tensor(0.7, dtype=torch.float64), torch.tensor(2.01, dtype=torch.float64)
    lr = rate / kernel
    outputs, kernels = catapult_recursion(f, kernel, target, lr, n, 300)
    a, b = kernel + 2 * f / math.sqrt(n), kernel - 2 * f / math.sqrt(n)
    for step in range(301):
        g = math.sqrt(n) * (a - b) / 4
        assert abs(outputs[step] - g) < 1e-10 * math.sqrt(n) * kernels[step] / 2
        assert kernels[step] == pytest.approx(((a + b) / 2).item(), rel=1e-10)
        s = lr * (g - target) / math.sqrt(n)
        a, b = (1 - s) ** 2 * a, (1 + s) ** 2 * b


def test_draws_are_those_of_weights():
    torch.manual_seed(0)
    n, draws = 30, 20000
    f, kernel = toy_starts(n, draws)
    u, v = torch.randn(2, draws, n, dtype=torch.float64)
    for ours, theirs in ((f, (u * v).sum(1) / n**0.5), (kernel, (u**2 + v**2).sum(1) / n)):
        assert abs(ours.mean() - theirs.mean()) < 5 * ours.std() * (2 / draws) ** 0.5
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.04)


def test_small_targets_have_the_edge_4_and_kernels_end_below_2():
    torch.manual_seed(0)
    f, kernel = toy_starts(4096, 100)
    for rate, converging in ((1.9, True), (2.5, True), (3.95, True), (4.05, False)):
        outputs, kernels = catapult_recursion(f, kernel, 0.0, rate / kernel, 4096, STEPS)
        assert (outputs[-1].isfinite() == converging).all()
        assert not converging or (rate * kernels[-1] / kernel < 2).all()
        grows = (outputs[:6].abs().amax(0) > 2 * f.abs()).double().mean()
        assert (grows > 0.9) == (rate > 2)


def test_a_scale_is_as_many_times_the_units_squared():
    """So that c does not depend on alpha: F = alpha f, of which the centered model is F - F_0."""
    n, alpha, target = 64, 3.0, 0.5
    net = toy(n)
    f, kernel = net.state()
    lr = 3.0 / kernel.item()
    expected, _ = catapult_recursion(alpha * f, kernel, target + alpha * f, lr, int(alpha**2 * n), 100)
    model, one = lt.CenteredModel(net, alpha), torch.ones((), dtype=torch.float64)
    found = []
    for _ in lt.theory.descend(model.parameters(), lambda: (model(one) - target) ** 2 / 2, lr, 100):
        found.append(model(one).detach() + alpha * f)
    torch.testing.assert_close(torch.stack(found), expected, rtol=1e-9, atol=1e-9)
    wrong, _ = catapult_recursion(alpha * f, kernel, target + alpha * f, lr, int(alpha * n), 100)
    assert not torch.allclose(torch.stack(found), wrong, rtol=1e-3)
