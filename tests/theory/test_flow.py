"""Gradient flow against the closed form at alpha = inf, and against plain autograd in w and t at finite alpha."""

import math

import pytest
import torch

import lazytorch as lt
from lazytorch.theory import gradient_flow


def problem(seed=0, n=3, d=4, width=5, outputs=2):
    torch.manual_seed(seed)
    net = lt.models.mlp(width, 1, outputs, d, 1, "tanh").double()
    return net, torch.randn(n, d, dtype=torch.float64), torch.randn(n, outputs, dtype=torch.float64)


def gradients(net, x, cotangent):
    return torch.cat([g.flatten() for g in torch.autograd.grad(net(x), list(net.parameters()), cotangent)])


def test_at_infinite_alpha_it_is_the_closed_form_of_the_eigenbasis():
    net, x, y = problem()
    rows = torch.eye(y.numel(), dtype=torch.float64).reshape(-1, *y.shape)
    jacobian = torch.stack([gradients(net, x, row) for row in rows])
    values, vectors = torch.linalg.eigh(jacobian @ jacobian.T)
    times = [0.0, 0.1, 1.0, 10.0]
    flow = gradient_flow(lt.CenteredModel(net, math.inf), x, y, times)
    for i, s in enumerate(times):
        components = vectors.T @ y.flatten()
        residual = vectors @ (torch.exp(-values * s) * components)
        theta = jacobian.T @ vectors @ (-torch.expm1(-values * s) / values * components)
        torch.testing.assert_close(flow.outputs[i].flatten(), y.flatten() - residual, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(flow.theta[i], theta, rtol=1e-8, atol=1e-9)
        assert flow.losses[i].item() == pytest.approx(residual.square().sum().item() / 2, rel=1e-7)


@pytest.mark.parametrize("alpha", (0.5, 3.0))
def test_at_finite_alpha_it_is_the_flow_of_the_weights_at_the_time_s_over_alpha_squared(alpha):
    net, x, y = problem(1)
    s, steps = 0.3, 25
    flow = gradient_flow(lt.CenteredModel(net, alpha), x, y, [s])
    w_0 = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
    f_0 = net(x).detach()

    def velocity(w):  # -grad of |alpha (f(w) - f(w_0)) - y|^2 / 2 by w
        torch.nn.utils.vector_to_parameters(w, net.parameters())
        return -alpha * gradients(net, x, alpha * (net(x).detach() - f_0) - y)

    w, h = w_0.clone(), s / alpha**2 / steps
    for _ in range(steps):  # the classical Runge-Kutta method
        a = velocity(w)
        b = velocity(w + h / 2 * a)
        c = velocity(w + h / 2 * b)
        w = w + h / 6 * (a + 2 * b + 2 * c + velocity(w + h * c))
    torch.testing.assert_close(flow.theta[0], alpha * (w - w_0), rtol=1e-4, atol=1e-6)
    other = gradient_flow(lt.CenteredModel(net, 1.1 * alpha), x, y, [s])  # what would not be told apart proves nothing
    assert (flow.theta - other.theta).norm() > 1e-3 * flow.theta.norm()


def test_it_starts_where_the_model_is_and_leaves_it_there():
    net, x, y = problem(2)
    model = lt.CenteredModel(net, 2.0)
    whole = gradient_flow(model, x, y, [0.3, 1.0])
    assert model.theta_norm() == 0
    parts = whole.theta[0].split([p.numel() for p in model.parameters()])
    with torch.no_grad():
        for parameter, part in zip(model.parameters(), parts, strict=True):
            parameter.copy_(part.view_as(parameter))
    rest = gradient_flow(model, x, y, [0.7])
    torch.testing.assert_close(rest.theta[0], whole.theta[1], rtol=1e-7, atol=1e-9)


def test_what_the_network_does_not_use_stays():
    net, x, y = problem(3)
    expected = gradient_flow(lt.CenteredModel(net, 10.0), x, y, [1.0]).theta[0]
    net.register_parameter("unused", torch.nn.Parameter(torch.ones(2, dtype=torch.float64)))
    model = lt.CenteredModel(net, 10.0)
    assert next(iter(model.theta)) == "unused"
    found = gradient_flow(model, x, y, [1.0]).theta[0]
    torch.testing.assert_close(found, torch.cat([torch.zeros(2, dtype=torch.float64), expected]), rtol=1e-9, atol=1e-12)


def test_labels_are_one_hot_targets_and_float32_is_taken_to_float64():
    net, x, _ = problem(3)
    labels = torch.tensor([0, 1, 1])
    one_hot = torch.nn.functional.one_hot(labels).double()
    flows = [
        gradient_flow(lt.CenteredModel(net.float(), 10.0), x.float(), labels, [0.5]),
        gradient_flow(lt.CenteredModel(net.float().double(), 10.0), x.float().double(), one_hot, [0.5]),
    ]
    torch.testing.assert_close(flows[0].theta, flows[1].theta, rtol=1e-12, atol=0)


def test_it_names_what_is_wrong():
    net, x, y = problem()
    model = lt.CenteredModel(net, 1.0)
    with pytest.raises(TypeError, match=r"wrap it, as CenteredModel\(net, alpha\)"):
        gradient_flow(net, x, y, [1.0])
    for times, message in (([1.0, 1.0], "times must increase"), ([-1.0], "from 0 on"), ([math.inf], "finite")):
        with pytest.raises(ValueError, match=message):
            gradient_flow(model, x, y, times)
    with pytest.raises(ValueError, match="give one row an input"):
        gradient_flow(model, x, y[:2], [1.0])
    with pytest.raises(ValueError, match=r"give it \(n, K\)"):
        gradient_flow(lt.CenteredModel(torch.nn.Conv1d(1, 1, 1), 1.0), x[:, None], y, [1.0])
