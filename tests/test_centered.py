"""The centered model on whole networks."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import lazytorch as lt

ALPHAS = (1.0, 100.0, 1e7, math.inf)


class Mixed(nn.Module):
    """Convolution, batch norm, in-place ReLU, pooling, dropout, tied and frozen weights, a keyword, a tuple out."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.first, self.second, self.last = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 5)
        self.second.weight = self.first.weight
        self.last.bias.requires_grad_(False)

    def forward(self, x, scale=1.0):
        x = F.avg_pool2d(F.max_pool2d(self.relu(self.norm(self.conv(x))), 2), 2)
        x = F.gelu(self.first(self.drop(x.flatten(1))))
        x = torch.tanh(self.second(x))
        return F.softmax(self.last(x) * scale, -1), x


def mixed(dtype=torch.float64):
    torch.manual_seed(0)
    net = Mixed().to(dtype)
    for tensor in (net.norm.weight, net.norm.bias, net.norm.running_mean):
        nn.init.normal_(tensor)
    return net, torch.randn(6, 3, 8, 8, dtype=dtype)


def randomise(model, seed=1):
    torch.manual_seed(seed)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model


@pytest.mark.parametrize(
    ("difference", "alpha"), [*itertools.product(["divided"], ALPHAS), *itertools.product(["direct"], ALPHAS[:-1])]
)
@pytest.mark.parametrize("mode", ("train", "eval"))
def test_output_is_exactly_zero_at_the_start(difference, alpha, mode):
    net, x = mixed(torch.float32 if difference == "divided" else torch.float64)
    outputs = getattr(lt.CenteredModel(net, alpha, difference=difference), mode)()(x, scale=2.0)
    assert isinstance(outputs, tuple)
    assert [tuple(t.shape) for t in outputs] == [(6, 5), (6, 16)]
    assert all((t == 0).all() for t in outputs)


@pytest.mark.parametrize("mode", ("train", "eval"))
@pytest.mark.parametrize("alpha", (1e-3, 0.3, 1.0, 2.0, 100.0))
def test_equals_two_passes_buffers_and_dropout_included(alpha, mode):
    net, x = mixed()
    divided = randomise(getattr(lt.CenteredModel(net, alpha), mode)())
    direct = randomise(getattr(lt.CenteredModel(net, alpha, difference="direct"), mode)())
    for seed in range(3):  # running statistics accumulate
        torch.manual_seed(seed)
        outputs = divided(x, scale=2.0)
        torch.manual_seed(seed)
        expected = direct(x, scale=2.0)
        torch.testing.assert_close(outputs, expected, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(divided.state_dict(), direct.state_dict(), rtol=1e-9, atol=1e-10)


def test_batch_norm_evaluates_like_two_networks_trained_apart():
    net, x = mixed(torch.float32)
    net.drop.p = 0.0
    model = randomise(lt.CenteredModel(net, 50.0).train())
    double, _ = mixed(torch.float64)
    double.drop.p = 0.0
    reference = lt.CenteredModel(double, 50.0)
    reference.load_state_dict(model.state_dict())
    moved = reference.to_module()
    for _ in range(5):
        model(x), double(x.double()), moved(x.double())
    with torch.no_grad():
        expected = 50.0 * (moved.eval()(x.double())[0] - double.eval()(x.double())[0])
        outputs = model.eval()(x)[0]
    assert (outputs - expected).norm() <= 1e-5 * expected.norm()
    assert model.initial_buffers()["norm.num_batches_tracked"].item() == 5


@pytest.mark.parametrize("mode", ("train", "eval"))
def test_infinite_alpha_equals_the_jvp_linearization(mode):
    net, x = mixed(torch.float32)
    net.drop.p = 0.0
    model = randomise(getattr(lt.CenteredModel(net, math.inf), mode)())
    linear = randomise(getattr(lt.linearize(net), mode)())
    outputs, expected = model(x), linear(x)
    for a, b in zip(outputs, expected, strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm()
    gradients = torch.autograd.grad(outputs[0].square().sum(), list(model.theta.values()))
    references = torch.autograd.grad(expected[0].square().sum(), list(linear.theta.values()))
    total = torch.cat([g.flatten() for g in references]).norm()
    assert torch.cat([(a - b).flatten() for a, b in zip(gradients, references, strict=True)]).norm() <= 1e-5 * total


def test_uncentered_linearization_adds_the_network_at_w0():
    net, x = mixed()
    linear, whole = randomise(lt.linearize(net).eval()), randomise(lt.linearize(net, centered=False).eval())
    torch.testing.assert_close(whole(x)[0], linear(x)[0] + net.eval()(x)[0])


def test_infinite_alpha_is_linear_in_theta():
    net, x = mixed()
    model = lt.CenteredModel(net, math.inf).eval()
    u, v = randomise(copy.deepcopy(model), 1), randomise(copy.deepcopy(model), 2)
    with torch.no_grad():
        for name, theta in model.theta.items():
            theta.copy_(3 * u.theta[name] - 2 * v.theta[name])
        torch.testing.assert_close(model(x)[0], 3 * u(x)[0] - 2 * v(x)[0], rtol=1e-10, atol=1e-12)


def test_outputs_approach_the_linearization_like_one_over_alpha():
    """The gap to J theta falls tenfold a decade, on a smooth network in float64."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 4), nn.GELU(), nn.Linear(4, 3)).double()
    x = torch.randn(5, 7, dtype=torch.float64)
    with torch.no_grad():
        linear = randomise(lt.linearize(net))(x)
        gaps = [(randomise(lt.CenteredModel(net, 10.0**k))(x) - linear).norm().item() for k in range(3, 9)]
    for coarse, fine in itertools.pairwise(gaps):
        assert coarse / fine == pytest.approx(10, rel=0.05)


def test_the_callers_module_is_untouched():
    net, x = mixed()
    before = copy.deepcopy(net.state_dict())
    net.eval()
    net.norm.train()
    model = randomise(lt.CenteredModel(net, 10.0))
    assert not model.training and model.structure.norm.training and not model.structure.drop.training
    model.train()
    model(x)[0].sum().backward()
    assert [m.training for m in net.modules()].count(True) == 1
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in (*net.modules(), *model.structure.modules()))


def test_theta_are_the_only_parameters_keyed_as_the_trainable_ones():
    net, _ = mixed()
    model = lt.CenteredModel(net, 10.0)
    assert list(model.theta) == [name for name, p in net.named_parameters() if p.requires_grad]
    assert {id(p) for p in model.parameters()} == {id(p) for p in model.theta.values()}
    assert "second.weight" not in model.theta and "last.bias" not in model.theta
    assert list(model.weights()) == list(model.initial_weights()) == [name for name, _ in net.named_parameters()]


@pytest.mark.parametrize("alpha", (10.0, 1e7, math.inf))
def test_state_travels(alpha, tmp_path):
    net, x = mixed()
    model = randomise(lt.CenteredModel(net, alpha).train())
    model(x)  # moves the running statistics
    torch.save(model.state_dict(), tmp_path / "state.pt")
    fresh = lt.CenteredModel(Mixed().double(), alpha)
    fresh.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    expected = model.eval()(x)
    torch.testing.assert_close(fresh.eval()(x), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(model)(x), expected, rtol=0, atol=0)
    single = copy.deepcopy(model).to(torch.float32)
    assert {t.dtype for t in single.state_dict().values()} == {torch.float32, torch.int64}
    torch.testing.assert_close(single(x.float())[0].double(), expected[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", (None, torch.float64))
def test_to_module_shares_no_tensor(dtype):
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    net[0].bias.requires_grad_(False)
    model = lt.CenteredModel(net, 10.0)
    own = {t.data_ptr() for t in (*model.parameters(), *model.buffers())}
    copied = model.to_module(dtype)
    assert not own & {t.data_ptr() for t in (*copied.parameters(), *copied.buffers())}


def test_to_module_is_the_network_at_w():
    net, x = mixed()
    model = randomise(lt.CenteredModel(net, 10.0).eval())
    at_w, start = model.to_module(), net.eval()
    torch.testing.assert_close(model(x)[0], 10.0 * (at_w(x)[0] - start(x)[0]), rtol=1e-10, atol=1e-11)
    assert at_w.second.weight is at_w.first.weight and not at_w.last.bias.requires_grad


def test_weights_and_displacement_survive_large_alpha():
    net, _ = mixed(torch.float32)
    model = randomise(lt.CenteredModel(net, 1e9))
    for name, w in model.weights(torch.float64).items():
        start = model.initial_weights()[name].double()
        if name in model.theta:
            torch.testing.assert_close(1e9 * (w - start), model.theta[name].double(), rtol=1e-6, atol=1e-6)
        else:
            assert (w == start).all()
    theta = torch.cat([t.detach().double().flatten() for t in model.theta.values()])
    start = torch.cat([model.initial_weights()[name].double().flatten() for name in model.theta])
    assert model.displacement() == pytest.approx(1e-9 * (theta.norm() / start.norm()).item(), rel=1e-12)
    assert lt.CenteredModel(net, math.inf).displacement() == 0.0


def test_displacement_by_module_joins_weight_and_bias_and_knows_no_zero_norm():
    net = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 2)), nn.PReLU(init=0.0))
    model = randomise(lt.CenteredModel(net, 10.0))
    ratios = model.displacement_by_module()
    assert list(ratios) == ["0", "1.0", "2"] and ratios["2"] is None
    theta, start = (
        [t[k].detach().double().flatten() for k in ("0.weight", "0.bias")]
        for t in (model.theta, model.initial_weights())
    )
    assert ratios["0"] == pytest.approx((0.1 * torch.cat(theta).norm() / torch.cat(start).norm()).item())


def test_alpha_and_epsilon():
    net = nn.Linear(2, 2)
    model = lt.CenteredModel(net, alpha=1e7)
    assert (model.alpha, model.epsilon) == (1e7, 1e-7)
    model = lt.CenteredModel(net, alpha=math.inf)
    assert (model.alpha, model.epsilon) == (math.inf, 0.0)


@pytest.mark.parametrize("alpha", (0, -1.0, math.nan, -math.inf, 1e31))
def test_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match="alpha"):
        lt.CenteredModel(nn.Linear(2, 2), alpha)


@pytest.mark.parametrize("alpha", ("7", None, True))
def test_alpha_of_another_type(alpha):
    with pytest.raises(TypeError, match="alpha"):
        lt.CenteredModel(nn.Linear(2, 2), alpha)


def test_modules_that_cannot_be_wrapped():
    with pytest.raises(ValueError, match="no trainable parameters"):
        lt.CenteredModel(nn.ReLU(), 1.0)
    with pytest.raises(ValueError, match="no trainable parameters"):
        lt.CenteredModel(nn.Linear(2, 2).requires_grad_(False), 1.0)
    with pytest.raises(TypeError, match="torch.nn.Module"):
        lt.CenteredModel(torch.relu, 1.0)
    with pytest.raises(TypeError, match="to_module"):
        lt.CenteredModel(lt.CenteredModel(nn.Linear(2, 2), 1.0), 1.0)
    with pytest.raises(ValueError, match="lazy"):
        lt.CenteredModel(nn.LazyLinear(3), 1.0)
    with pytest.raises(ValueError, match="difference"):
        lt.CenteredModel(nn.Linear(2, 2), 1.0, difference="central")
    with pytest.raises(ValueError, match="inf"):
        lt.CenteredModel(nn.Linear(2, 2), math.inf, difference="direct")


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return torch.special.erfcx(self.linear(x))


def test_an_operator_without_rule_names_itself_its_module_and_the_remedy():
    net = nn.Sequential(nn.Linear(3, 3), Odd())
    with pytest.raises(lt.UnsupportedOperator, match=r"aten\.special_erfcx.*module '1'.*lazytorch\.rule.*float64"):
        lt.CenteredModel(net, 10.0)(torch.randn(2, 3))
    x = torch.randn(2, 3)
    model, linear = randomise(lt.CenteredModel(net, math.inf)), randomise(lt.linearize(net))
    torch.testing.assert_close(model(x), linear(x))


def test_control_flow_on_values_is_refused_by_name():
    class Branch(nn.Linear):
        def forward(self, x):
            y = super().forward(x)
            return y if y.sum() > 0 else -y

    with pytest.raises(lt.UntraceableModule, match="Python decision.*test_centered.py.*direct"):
        lt.CenteredModel(Branch(3, 3), 10.0)(torch.randn(2, 3))
    model = lt.CenteredModel(Branch(3, 3), 10.0, difference="direct")
    assert (model(torch.ones(2, 3)) == 0).all()


def test_a_user_can_register_a_rule_for_an_operator_of_his_own():
    @torch.library.custom_op("lazytorch_test::square", mutates_args=())
    def square(x: torch.Tensor) -> torch.Tensor:
        return x**2

    square.register_fake(torch.empty_like)

    class Squared(nn.Linear):
        def forward(self, x):
            return torch.ops.lazytorch_test.square(super().forward(x))

    torch.manual_seed(0)
    net, x = Squared(3, 2).double(), torch.randn(4, 3, dtype=torch.float64)
    with pytest.raises(lt.UnsupportedOperator, match="lazytorch_test"):
        lt.CenteredModel(net, 10.0)(x)

    @lt.rule(torch.ops.lazytorch_test.square)
    def square_rule(epsilon, out, x):
        return x.difference * (2 * x.primal + epsilon * x.difference)

    for alpha in (1.0, 10.0):
        model = randomise(lt.CenteredModel(net, alpha))
        torch.testing.assert_close(model(x), alpha * (model.to_module()(x) - net(x)))
        model(x).sum().backward()  # which the operator itself cannot
        assert all(theta.grad.any() for theta in model.theta.values())


def test_a_module_reachable_by_two_names():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 3)
            self.b = self.a

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    torch.manual_seed(0)
    net, x = Shared().double(), torch.randn(4, 3, dtype=torch.float64)
    before = copy.deepcopy(net.state_dict())
    model = randomise(lt.CenteredModel(net, 10.0))
    expected = 10.0 * (model.to_module()(x) - net(x))
    torch.testing.assert_close(model(x), expected)
    torch.testing.assert_close(copy.deepcopy(model)(x), expected)
    kernel = lt.empirical_ntk(net, x, weights=model.weights())
    torch.testing.assert_close(kernel, lt.empirical_ntk(model.to_module(), x))
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_rounding_to_integers_jumps():
    class Rounded(nn.Linear):
        def forward(self, x):
            return super().forward(x).long().float()

    torch.manual_seed(0)
    net, x = Rounded(3, 2), torch.randn(20, 3)
    model = randomise(lt.CenteredModel(net, 2.0))
    expected = 2.0 * (model.to_module()(x) - net(x))
    assert expected.any()
    torch.testing.assert_close(model(x), expected)
    assert not randomise(lt.CenteredModel(net, torch.inf))(x).any()


def test_buffers_that_nothing_updates_are_constants():
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(3, 2)
            self.register_buffer("mask", torch.tensor([1.0, -1.0, 2.0]))

        def forward(self, x):
            return super().forward(x * (self.mask > 0) + torch.special.erfcx(self.mask.abs() + 1))

    torch.manual_seed(0)
    net, x = Masked().double(), torch.randn(4, 3, dtype=torch.float64)
    model = randomise(lt.CenteredModel(net, 10.0))
    torch.testing.assert_close(model(x), 10.0 * (model.to_module()(x) - net(x)))


def test_input_gradients_are_refused():
    model = lt.CenteredModel(nn.Linear(3, 2), 10.0)
    with pytest.raises(RuntimeError, match="requires a gradient"):
        model(torch.randn(4, 3, requires_grad=True))


def test_traces_once_per_signature_and_mode():
    net, x = mixed(torch.float32)
    model = lt.CenteredModel(net, 10.0).train()
    for batch in (6, 4, 6, 4):
        model(x[:batch])
    model.eval()
    model(x)
    model(x)
    assert model.tracing[0] == 3


def test_autocast_to_bfloat16_keeps_large_alpha_accurate():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))
    x = torch.randn(4, 3, 8, 8)
    for alpha in (1.0, 1e7):
        model = randomise(lt.CenteredModel(net, alpha))
        with torch.no_grad():
            expected = model(x)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(x)
        assert outputs.dtype == torch.bfloat16
        assert (outputs.float() - expected).norm() <= 0.03 * expected.norm()


def test_a_checkpoint_around_a_model():
    torch.manual_seed(0)
    model, x = lt.CenteredModel(nn.Sequential(nn.Linear(3, 3), nn.LogSigmoid()), 10.0), torch.randn(5, 3)
    thetas = list(model.parameters())
    plain, again = (
        torch.autograd.grad(output.square().sum(), thetas)
        for output in (model(x), checkpoint(model, x, use_reentrant=False))
    )
    torch.testing.assert_close(again, plain)
