"""Whole modules on pairs: recurrent and attention layers, random layers, what must be refused, and near ties."""

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lazytorch as lt
from lazytorch.differences import Pair, UnsupportedOperator
from lazytorch.differences.operators import on_pairs
from lazytorch.differences.ordering import ranks


class Function(nn.Module):
    """A function of an input and of one parameter."""

    def __init__(self, function, *shape):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(shape))

    def forward(self, x):
        return self.function(x, self.weight)


class First(nn.Module):
    """The first output of a module, at inputs that are all x."""

    def __init__(self, module, inputs=1, **options):
        super().__init__()
        self.module, self.inputs, self.options = module, inputs, options

    def forward(self, x):
        return self.module(*[x] * self.inputs, **self.options)[0]


CAUSAL = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
PADDING = torch.tensor([[False] * 4 + [True], [False] * 3 + [True] * 2])
ENCODER = {"dropout": 0.0, "batch_first": True, "dtype": torch.float64}

MODULES = {
    "LSTM": lambda: First(nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True)),
    "GRU": lambda: First(nn.GRU(4, 3, 2)),
    "RNN": lambda: First(nn.RNN(4, 3, bias=False)),
    "attention": lambda: First(nn.MultiheadAttention(4, 2, batch_first=True), 3),
    "attention with padding": lambda: First(
        nn.MultiheadAttention(4, 2, batch_first=True), 3, key_padding_mask=PADDING, need_weights=False
    ),
    "encoder layer": lambda: nn.TransformerEncoderLayer(4, 2, 8, **ENCODER),
    "scaled dot products": lambda: Function(
        lambda x, w: F.scaled_dot_product_attention(x @ w, x, x @ w, is_causal=True), 4, 4
    ),
    "nothing to attend to": lambda: Function(
        lambda x, w: F.scaled_dot_product_attention(x @ w, x, x, attn_mask=CAUSAL.to(x).roll(1, 0)), 4, 4
    ),
    "mixture of experts": lambda: Function(
        lambda x, w: (lambda t: t[0].softmax(-1).unsqueeze(-1) * w[t[1]])((x @ w.T).topk(2)), 6, 4
    ),
    "circular convolution": lambda: nn.Conv1d(5, 3, 3, padding=1, padding_mode="circular"),
}


ACTIVATIONS = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid),
    *(nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink),
    *(nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold),
)
MODULES |= {
    kind.__name__: lambda kind=kind: nn.Sequential(nn.Linear(4, 3), kind(*[0.1, 20] if kind is nn.Threshold else []))
    for kind in ACTIVATIONS
}


def with_theta(net, alpha):
    """The centered model in float64 at a random displacement, all numbers exact in float32."""
    model = lt.CenteredModel(net, alpha).float()
    generator = torch.Generator().manual_seed(0)
    for theta in model.theta.values():
        nn.init.normal_(theta, generator=generator)
    return model.double()


@pytest.mark.in_turn("mode")
@pytest.mark.parametrize("mode", (True, False))
@pytest.mark.parametrize("name", MODULES)
def test_modules(name, mode):
    torch.manual_seed(0)
    exact, x = with_theta(MODULES[name]().train(mode), 1.0), torch.randn(2, 5, 4)
    single = with_theta(MODULES[name]().train(mode), 1.0)
    single.load_state_dict(exact.state_dict())
    single.float()
    for alpha in (1.0, 2.0, 1e2, 1e4, 1e7, torch.inf):
        exact.alpha = single.alpha = alpha
        expected, output = exact(x.double()), single(x)
        assert (output - expected).norm() <= 1e-5 * expected.norm()
        gradients = torch.autograd.grad(expected.square().sum(), list(exact.theta.values()))
        assert all(gradient.isfinite().all() for gradient in gradients)
        if alpha <= 1e2:
            direct = lt.CenteredModel(exact.to_module(), alpha, difference="direct")
            direct.load_state_dict(exact.state_dict())
            subtracted = direct(x.double())
            torch.testing.assert_close(expected, subtracted, rtol=1e-9, atol=1e-13 * alpha)
            references = torch.autograd.grad(subtracted.square().sum(), list(direct.theta.values()))
            torch.testing.assert_close(gradients, references, rtol=1e-7, atol=1e-11 * alpha)


RANDOM = {
    "dropout": lambda x: F.dropout(x),
    "channel dropout": lambda x: F.dropout1d(x),
    "alpha dropout": lambda x: F.alpha_dropout(x, training=True),
    "channel alpha dropout": lambda x: F.feature_alpha_dropout(x, training=True),
    "noise": lambda x: x * torch.randn_like(x) + torch.empty_like(x).uniform_() + torch.normal(x, 0.1),
}


@pytest.mark.parametrize("alpha", (1.0, 1e7, torch.inf))
@pytest.mark.parametrize("name", RANDOM)
def test_one_draw_serves_both_weights(name, alpha):
    """A linear function of x w, where w goes from 1 to 2: at any scale the step from 0 to 1 is the same."""
    net = Function(lambda x, w: RANDOM[name](x * w), 1).double()
    nn.init.ones_(net.weight)
    model, x = lt.CenteredModel(net, alpha), torch.randn(4, 3, 50, dtype=torch.float64)
    nn.init.ones_(model.theta["weight"])
    torch.manual_seed(1)
    output = model(x)
    torch.manual_seed(1)
    value = net(x)
    with torch.no_grad():
        net.weight.zero_()
    torch.manual_seed(1)
    at_zero = net(x)
    torch.testing.assert_close(output, value - at_zero)


def test_randomized_slopes_serve_both_weights():
    net = Function(lambda x, w: F.rrelu(x + w, training=True), 1)
    nn.init.zeros_(net.weight)
    model, x = lt.CenteredModel(net, 1.0), torch.tensor([-3.0, -2.0, 2.0, 3.0]).repeat(50, 1)
    nn.init.ones_(model.theta["weight"])
    slopes = model(x)  # the step is 1, and no unit changes sign
    assert ((slopes[:, 2:] - 1).abs() < 1e-6).all() and ((slopes[:, :2] > 0.124) & (slopes[:, :2] < 0.334)).all()
    assert slopes[:, :2].std() > 0.01


def test_a_condition_that_enters_arithmetic_jumps():
    net = Function(lambda x, w: torch.maximum(x * w, x * w > 0.1) + (x * w > 0.3) * x, 4).double()
    model, x = with_theta(net, 1.0), torch.randn(50, 4, dtype=torch.float64)
    direct = lt.CenteredModel(model.to_module(), 1.0, difference="direct")
    direct.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(x), direct(x), rtol=1e-12, atol=1e-12)


class Caching(nn.Linear):
    """Keeps a tensor of its forward."""

    cached = None

    def forward(self, x):
        if self.cached is None or self.training:
            self.cached = 2 * self.weight
        return F.linear(x, self.cached)


def test_a_module_that_keeps_tensors_of_its_forward():
    model, x = with_theta(Caching(4, 3).eval(), 1.0), torch.randn(5, 4, dtype=torch.float64)
    for batch in (x, x[:2]):  # a second trace does not meet the first one's tensor
        torch.testing.assert_close(model(batch), 2 * batch @ model.theta["weight"].T)


class Masked(nn.Module):
    """Scores outside the top 2 are masked by -inf."""

    def __init__(self):
        super().__init__()
        self.score = nn.Linear(3, 4)

    def forward(self, x):
        scores = self.score(x)
        values, index = scores.topk(2)
        return torch.full_like(scores, -torch.inf).scatter(1, index, values).softmax(1)


def test_a_change_between_infinite_and_finite_is_refused():
    model = with_theta(nn.Sequential(Masked()), 2.0)
    x = torch.randn(20, 3, dtype=torch.float64)
    with pytest.raises(UnsupportedOperator, match=r"aten.scatter.src \(in module '0'\).*huge"):
        model(x)
    model.alpha = 1e12  # at w_0 and w the same are chosen
    assert model(x).isfinite().all()


class Experts(nn.Module):
    """Of each row its two experts, whose rows are selected by index or by mask."""

    def __init__(self, by_index):
        super().__init__()
        self.gate, self.by_index = nn.Linear(3, 4), by_index
        self.experts = nn.ModuleList(nn.Linear(3, 2) for _ in range(4))

    def forward(self, x):
        shares = self.gate(x).softmax(-1)
        chosen, out = shares.topk(2, -1)[1], x.new_zeros(len(x), 2)
        for i, expert in enumerate(self.experts):
            own = (chosen == i).any(-1)
            if self.by_index:
                (rows,) = torch.where(own)
                out.index_add_(0, rows, shares[rows, i, None] * expert(x[rows]))
            else:
                out[own] += shares[own, i, None] * expert(x[own])
        return out


class Edges(nn.Linear):
    """A layer of a graph's edges but its loops, whose number the inputs decide, and of one loop at each node."""

    def forward(self, x, edges):
        loops = torch.arange(len(x)).expand(2, -1)
        start, end = torch.cat([edges[:, edges[0] != edges[1]], loops], 1)
        messages = super().forward(x).index_select(0, start).tanh()
        return messages.new_zeros(len(x), 2).scatter_add(0, end.unsqueeze(1).expand_as(messages), messages)


def test_the_size_of_what_depends_on_theta_does_not():
    pair = Pair(torch.ones(3, 2), torch.ones(3, 2))
    assert on_pairs(torch.ops.aten.sym_size.int, 0.1, 3, (pair, 0), {}) == 3


@pytest.mark.parametrize("alpha", (20.0, math.inf))
def test_sizes_that_inputs_decide(alpha):
    torch.manual_seed(0)
    net, x = Edges(3, 2).double(), torch.randn(4, 3, dtype=torch.float64)
    model = lt.CenteredModel(net, alpha)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    for edges in (torch.tensor([[0, 1, 1, 2], [1, 1, 3, 0]]), torch.tensor([[0, 2, 2, 3, 1], [1, 2, 3, 3, 1]])):
        if alpha < math.inf:
            expected = alpha * (model.to_module()(x, edges) - net(x, edges))
        else:
            weights = dict(net.named_parameters())
            call = functools.partial(torch.func.functional_call, net, args=(x, edges))
            expected = torch.func.jvp(call, (weights,), (model.theta(),))[1]
        torch.testing.assert_close(model(x, edges), expected)


@pytest.mark.parametrize("by_index", (True, False))
def test_experts_that_have_other_rows_at_w(by_index):
    """As many rows each, but other ones, and other numbers of them."""
    torch.manual_seed(0)
    net = Experts(by_index).double()
    x = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 1]]
    with torch.no_grad():
        for parameter in net.gate.parameters():
            parameter.zero_()
        net.gate.weight[0, 0] = net.gate.weight[1, 0] = net.gate.weight[2, 1] = net.gate.weight[3, 1] = 1.0
        model = lt.CenteredModel(net, 2.0)
        for theta in model.theta.values():
            nn.init.normal_(theta, std=0.1)
        swap = 2 * (net.gate.weight.roll(2, 0) - net.gate.weight)
        model.theta["gate.weight"].copy_(swap)
        model.theta["gate.bias"].zero_()
    torch.testing.assert_close(model(x), 2 * (model.to_module()(x) - net(x)))
    model.theta["gate.bias"].data[0] = 10.0
    for model.alpha in (2.0, 1.0):
        torch.testing.assert_close(model(x), model.alpha * (model.to_module()(x) - net(x)))


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda x, w: torch.multinomial((x * w).softmax(1), 1), "aten.multinomial.default"),
        (lambda x, w: torch.linalg.svdvals(x * w), "aten._linalg_svd.default"),
        (lambda x, w: torch.scatter_reduce(x, 1, (x > 0).long(), x * w, "prod"), "aten.scatter_reduce.two"),
    ],
)
def test_other_operators_are_refused_by_name(function, operator):
    with pytest.raises(UnsupportedOperator, match=operator):
        lt.CenteredModel(Function(function, 3), 10.0)(torch.randn(4, 3))


def test_nodes_keep_their_module_where_in_place_operators_are_rewritten():
    net = nn.Sequential(nn.GRU(3, 3), Function(lambda x, w: torch.linalg.svdvals(x[0] * w), 3))
    with pytest.raises(UnsupportedOperator, match=r"\(in module '1'\)"):
        lt.CenteredModel(net, 10.0)(torch.randn(4, 2, 3))


def test_order_is_decided_by_differences():
    """In float32 the values at w tie; the differences do not. Equal pairs share a rank, and torch breaks the tie."""
    pair = Pair(torch.ones(5), torch.tensor([3.0, 1.0, 2.0, 1.0, -1.0]))
    assert ranks(1e-12, pair, 0).tolist() == [3, 1, 2, 1, 0]
    assert (pair.value(1e-12) == 1).all()
    infinite = Pair(torch.tensor([-torch.inf, 1.0, -torch.inf]), torch.zeros(3))
    assert ranks(1e-12, infinite, 0).tolist() == [0, 1, 0]


@pytest.mark.parametrize("operator", (torch.amax, lambda x, dim: x.max(dim)[0]))
def test_gradient_of_a_tie_goes_to_the_first(operator):
    net = Function(lambda x, w: operator(x + w, 1), 1, 3)
    nn.init.zeros_(net.weight)
    model = lt.CenteredModel(net, 10.0)
    (gradient,) = torch.autograd.grad(model(torch.tensor([[1.0, 2.0, 2.0]])), list(model.theta.values()))
    assert gradient.tolist() == [[0, 1, 0]]


def test_norm_of_zero_has_gradient_zero():
    net = Function(lambda x, w: (x * w).norm(dim=1), 3)
    model = lt.CenteredModel(net, 10.0)
    output = model(torch.zeros(2, 3))
    (gradient,) = torch.autograd.grad(output.sum(), list(model.theta.values()))
    assert output.tolist() == [0, 0] and gradient.tolist() == [0, 0, 0]
