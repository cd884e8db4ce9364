"""The models are modules as others: torch.func's transforms, gradients of gradients, export, and several threads."""

import copy
import math
import threading
import warnings

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap
from torch.fx.experimental.proxy_tensor import make_fx

import lazytorch as lt


def mlp():
    layers = nn.Linear(4, 6), nn.ReLU(), nn.LayerNorm(6), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3), nn.Softmax(-1)
    return nn.Sequential(*layers).double(), torch.randn(5, 4, dtype=torch.float64)


def convnet():
    first = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2)
    net = nn.Sequential(*first, nn.Conv2d(3, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).double().eval()
    nn.init.normal_(net[1].running_mean)
    return net, torch.randn(5, 2, 6, 6, dtype=torch.float64)


MAKERS = {
    "100": lambda net: lt.CenteredModel(net, 100.0),
    "inf": lambda net: lt.CenteredModel(net, math.inf),
    "direct": lambda net: lt.CenteredModel(net, 100.0, "direct"),
    "linearized": lt.linearize,
}
cases = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
networks = pytest.mark.parametrize("network", (mlp, convnet))


def randomised(model, seed=1):
    torch.manual_seed(seed)
    for theta in model.parameters():
        nn.init.normal_(theta)
    return model


def made(make, network):
    torch.manual_seed(0)
    net, x = network()
    return randomised(make(net)), x, {name: t.detach() for name, t in make(net).named_parameters()}


def same_values(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def loss(model, params, x, y):
    return (functional_call(model, params, (x[None],))[0] - y).square().sum()


@cases
def test_every_name_leads_to_its_part_and_its_tensor(make):
    model, _, _ = made(make, convnet)
    for name, part in model.named_modules():
        assert model.get_submodule(name) is part
    for name, parameter in model.named_parameters():
        assert model.get_parameter(name) is parameter is model.theta[name.removeprefix("theta.")]
    for name, buffer in model.named_buffers():
        assert model.get_buffer(name) is buffer
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(2 * vector, model.parameters())
    same_values(nn.utils.parameters_to_vector(model.parameters()), 2 * vector)


def test_theta_is_a_mapping_and_a_module():
    model, _, _ = made(MAKERS["100"], mlp)
    names, theta = [name for name, _ in mlp()[0].named_parameters()], model.theta
    assert isinstance(theta, nn.Module) and list(theta) == list(theta.keys()) == names and len(theta) == len(names)
    assert all(t is theta[name] for name, t in dict(theta).items()) and "0.weight" in theta and "0.w" not in theta
    assert list((theta | {"more": 1}) | theta) == [*names, "more"] and list({"more": 1} | theta) == ["more", *names]
    assert theta == model.theta and theta.get("absent") is None and len({theta, model.theta}) == 1
    assert list(model.state_dict()) == [
        *(f"theta.{name}" for name in names),
        *(f"initial.{name}" for name in names),
    ]


@cases
@networks
def test_gradients_per_sample_are_those_of_single_samples(make, network):
    model, x, _ = made(make, network)
    y, untouched = torch.randn(5, 3, dtype=torch.float64), copy.deepcopy(model)
    params = {name: t.detach() for name, t in model.named_parameters()}
    found = vmap(grad(lambda *of: loss(model, *of)), in_dims=(None, 0, 0))(params, x, y)
    singles = [
        torch.autograd.grad((untouched(a[None])[0] - b).square().sum(), list(untouched.parameters()))
        for a, b in zip(x, y, strict=True)
    ]
    same_values(list(found.values()), [torch.stack(each) for each in zip(*singles, strict=True)])
    assert torch.equal(model(x), untouched(x)) and torch.equal(model(x[:1]), untouched(x[:1]))


@cases
@networks
def test_jacobians_and_batches_are_those_of_plain_calls(make, network):
    model, x, _ = made(make, network)
    params = {name: t.detach() for name, t in model.named_parameters()}
    jacobian = jacrev(lambda p: functional_call(model, p, (x[:2],)))(params)
    outputs = model(x[:2])
    rows = [torch.autograd.grad(out, list(model.parameters()), retain_graph=True) for out in outputs.flatten()]
    for found, *row in zip(jacobian.values(), *rows, strict=True):
        same_values(found.flatten(0, 1), torch.stack(row))
    batched = vmap(lambda a: model(a[None])[0])(x)
    same_values(batched, model(x))
    gradients = [torch.autograd.grad(out.sum(), list(model.parameters())) for out in (batched, model(x))]
    same_values(*gradients)


@cases
def test_ensembles_are_their_members(make):
    model, x, _ = made(make, convnet)
    members = [randomised(copy.deepcopy(model), seed) for seed in range(3)]
    params, buffers = stack_module_state(members)
    expected = torch.stack([member(x) for member in members])
    same_values(vmap(lambda p: functional_call(model, p, (x,)))(params), expected)
    if make is not MAKERS["direct"]:
        base = copy.deepcopy(model).to("meta")
        same_values(vmap(lambda p, b: functional_call(base, (p, b), (x,)))(params, buffers), expected)


class Deciding(nn.Linear):
    def forward(self, x):
        return super().forward(x) if x.sum() > 0 else super().forward(-x)


@cases
def test_a_decision_by_values_is_not_taken_for_a_batch(make):
    model, x = make(Deciding(4, 3)), torch.randn(5, 4)
    with pytest.raises(RuntimeError, match="data-dependent control flow"):
        vmap(lambda a: model(a[None])[0])(x)
    model(x)


@pytest.mark.parametrize("make", (MAKERS["100"], MAKERS["inf"]), ids=("100", "inf"))
@networks
def test_a_gradient_is_not_differentiated_again(make, network):
    """Torch's own check sees the incoming gradient alone, which is constant here, and would drop what theta does."""
    model, x, _ = made(make, network)
    params = {name: t.detach() for name, t in model.named_parameters()}

    def penalty(p):
        return sum(t.square().sum() for t in grad(lambda p: functional_call(model, p, (x,)).sum())(p).values())

    with pytest.raises(RuntimeError, match="not differentiated again.*lazytorch.linearize.*direct"):
        torch.autograd.grad(model(x)[:, 0].sum(), list(model.parameters()), create_graph=True)
    with pytest.raises(RuntimeError, match="not differentiated again.*lazytorch.linearize.*direct"):
        grad(penalty)(params)


def test_what_the_refusal_names_has_second_gradients():
    for make in (MAKERS["direct"], MAKERS["linearized"]):
        model, x, _ = made(make, mlp)
        x, theta = x[:2], list(model.parameters())
        first = torch.autograd.grad(model(x).square().sum(), theta, create_graph=True)
        sum(t.square().sum() for t in first).backward()
        found, step = theta[0].grad.clone(), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                theta[0][1, 2] += sign * step if sign == 1 else -2 * step
            gradients = torch.autograd.grad(model(x).square().sum(), theta)
            values.append(sum(t.square().sum() for t in gradients))
        torch.testing.assert_close(found[1, 2], (values[0] - values[1]) / (2 * step), rtol=1e-5, atol=1e-8)


@cases
def test_inputs_have_gradients_where_they_are_right(make):
    model, x, _ = made(make, mlp)
    x = x[:2]
    if make is MAKERS["direct"]:
        assert torch.autograd.gradcheck(model, (x.requires_grad_(),))
        return
    for call in (lambda: grad(lambda a: model(a).sum())(x), lambda: model(x.requires_grad_())):
        with pytest.raises(RuntimeError, match="requires a gradient.*direct.*float64"):
            call()


class OfWeight(nn.Linear):
    """Its output depends on a function of the weight alone, which a batch of thetas has at one w_0."""

    def __init__(self, function):
        super().__init__(4, 4)
        self.function = function

    def forward(self, x):
        return x @ self.function(self.weight)


OF_WEIGHT = {
    "relu": torch.relu,
    "clamp": lambda w: w.clamp(-0.2, 0.3),
    "gelu": nn.functional.gelu,
    "erf": torch.erf,
    "max pool in tiles": lambda w: nn.functional.max_pool2d(w[None], 2)[0],
    "max pool": lambda w: nn.functional.max_pool2d(w[None], 3, 1, 1)[0],
    "adaptive max pool": lambda w: nn.functional.adaptive_max_pool2d(w[None], 3)[0],
}


@pytest.mark.parametrize("function", OF_WEIGHT.values(), ids=OF_WEIGHT)
def test_a_batch_of_thetas_in_a_function_of_the_weight(function):
    torch.manual_seed(0)
    model, x = lt.CenteredModel(OfWeight(function), 10.0), torch.randn(3, len(function(torch.zeros(4, 4))))
    params = {name: torch.randn(5, *theta.shape) for name, theta in model.named_parameters()}
    found = vmap(lambda p: functional_call(model, p, (x,)))(params)
    singles = [functional_call(model, {name: t[i] for name, t in params.items()}, (x,)) for i in range(5)]
    torch.testing.assert_close(found, torch.stack(singles))


class Stopped(torch.autograd.Function):
    """The identity, whose backward returns nothing."""

    @staticmethod
    def forward(x):
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Nothing is kept."""

    @staticmethod
    def backward(ctx, gradient):
        return None


@pytest.mark.parametrize("make", (MAKERS["100"], MAKERS["inf"]))
@networks
def test_where_no_gradient_comes_none_is_given(make, network):
    model, x, params = made(make, network)
    Stopped.apply(model(x)).sum().backward()
    assert not any(theta.grad is not None and theta.grad.any() for theta in model.parameters())
    found = grad(lambda p: Stopped.apply(functional_call(model, p, (x,))).sum())(params)
    assert not any(gradient.any() for gradient in found.values())


@pytest.mark.parametrize("function", (nn.Sigmoid, nn.GELU, lambda: nn.Softmax(1)))
def test_a_trace_of_a_model_by_its_real_tensors(function):
    """Of so many elements that the model chooses formulas by their values, which a trace does not tell."""
    torch.manual_seed(0)
    model, x = randomised(lt.CenteredModel(nn.Sequential(nn.Linear(2, 200), function()), 100.0)), torch.randn(100, 2)
    expected = model(x).detach()
    traced = make_fx(lambda x: model(x).detach())(x)
    torch.testing.assert_close(traced(x), expected, rtol=1e-5, atol=1e-6)


FORWARD_MODE = pytest.mark.skipif(torch.__version__ < (2, 7), reason="what torch 2.6 exports of jvp does not run")


@pytest.mark.parametrize(
    "make", (MAKERS["100"], pytest.param(MAKERS["linearized"], marks=FORWARD_MODE)), ids=("100", "linearized")
)
def test_export_of_a_model_that_has_run(make):
    model, x, _ = made(make, mlp)
    with pytest.raises(RuntimeError, match="torch.export of a model that has not run on such inputs: call it"):
        torch.export.export(model, (x,), strict=False)
    expected = model(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(model, (x,), strict=False).module()
    same_values(exported(x), expected)
    with pytest.raises(RuntimeError, match=r'torch.export does not take difference="direct"'):
        torch.export.export(made(MAKERS["direct"], mlp)[0], (x,), strict=False)


class Scaled(nn.Linear):
    def forward(self, x, scale=1.0, *, power=1):
        return super().forward(x) * scale**power


def test_numbers_that_change_from_call_to_call_are_told_once():
    model, x = lt.CenteredModel(Scaled(4, 3), 10.0), torch.randn(5, 4)
    for rows in range(1, 12):
        model(torch.randn(rows, 4))
    for scale in range(7):
        model(x, 0.5 * scale)
    with pytest.warns(UserWarning, match=r"Scaled has been traced for 8 values of argument 1, .* pass a tensor"):
        model(x, 7.5)
    for scale in range(3):
        model(x, 9.0 + scale)
    model = lt.CenteredModel(Scaled(4, 3), 10.0)
    with pytest.warns(UserWarning, match="8 values of argument 'power'"):
        for power in range(8):
            model(x, power=power)


@cases
@pytest.mark.parametrize("shared", (False, True))
def test_threads_may_call_models_for_the_first_time_at_once(make, shared):
    model, x, _ = made(make, convnet)
    models = [model if shared else copy.deepcopy(model) for _ in range(3)]
    found, together = {}, threading.Barrier(3)

    def run(i):
        together.wait()
        found[i] = [models[i](x), *torch.autograd.grad(models[i](x).sum(), list(models[i].parameters()))]

    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [model(x), *torch.autograd.grad(model(x).sum(), list(model.parameters()))]
    torch.testing.assert_close([found[i] for i in range(3)], [expected] * 3, rtol=0, atol=0)
    if shared and isinstance(model, lt.CenteredModel) and model.difference == "divided":
        assert model.tracing[0] == 1
