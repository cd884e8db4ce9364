"""The compiled model against the same without: values, gradients, buffers."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import lazytorch as lt
from lazytorch.compiled import Graph
from lazytorch.differences import jumps, reading, softmax
from lazytorch.differences.erfc import erfc
from lazytorch.differences.program import Program
from lazytorch.joint import Step
from lazytorch.selected import Selected
from lazytorch.training import fit_together
from lazytorch.training.objective import converting, cross_entropy, mse

from .training.problems import TEST, TRAIN, assert_same, network, without_times

ALPHAS = (1.0, 30.0, 1e7, math.inf)
EAGER = "aot_eager"  # traces as any backend does, and compiles nothing
SAME_SUMS = torch.__version__ >= (2, 7)  # gradients have other strides in a graph of 2.6, and sums of them round anew


class Attention(nn.Module):
    """A block of a transformer on tokens, with a constant and a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.embedding, self.dropout = nn.Embedding(11, 8), nn.Dropout(0.3)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, 0.2, activation="gelu", batch_first=True, norm_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        scores = self.head(self.block(self.dropout(self.embedding(tokens))))
        return {"scores": scores.amax(1) * torch.tensor([0.5, 1.0, 2.0]), "best": scores.argmax(-1), "classes": 3}


class Edges(nn.Embedding):
    """Sums along the edges that lead to another node, of the nodes that have any; its factors are no buffer."""

    def __init__(self):
        super().__init__(5, 4)
        self.factors = torch.rand(4)

    def forward(self, edges):
        edges = edges[:, edges[0] != edges[1]]
        sums = self.weight.index_add(0, edges[0], self.weight[edges[1]].sin() * self.factors)
        return sums[torch.zeros(5, dtype=torch.bool).index_fill(0, edges[0], True)].square().mean(0).expand(2, 4)


class Masking(nn.Linear):
    """Drops its smallest output: a value that is huge at one of w_0 and w alone where that is another."""

    def forward(self, x):
        scores = super().forward(x)
        return scores.masked_fill(scores == scores.amin(1, keepdim=True), -1e9).softmax(1)


def convolutional():
    first = nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(4, 6, 3, groups=2), nn.GroupNorm(2, 6), nn.SiLU(), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(6, 5))


def perceptron():
    return nn.Sequential(nn.Linear(7, 9), nn.GELU(), nn.Dropout(0.4), nn.LayerNorm(9), nn.Linear(9, 4), nn.Softmax(1))


CASES = {
    "convolutions": (convolutional, lambda: torch.randn(4, 3, 12, 12)),
    "attention": (Attention, lambda: torch.randint(0, 11, (4, 6))),
    "perceptron": (perceptron, lambda: torch.randn(5, 7)),
}


def pair_of_models(build, alpha=1.0, backend=EAGER):
    """One as it is and a compiled one."""
    torch.manual_seed(0)
    net = build()
    plain, compiled = (lt.CenteredModel(net, alpha) for _ in range(2))
    compiled.compile(backend)
    compiled.share_traces(plain.share_traces(None))
    for theta in plain.theta.values():
        theta.data.copy_(0.1 * torch.randn(theta.shape))
    compiled.load_state_dict(plain.state_dict())
    return plain, compiled


def two_steps(model, x, alpha):
    """Outputs, gradients and state after two steps; the model is then where it was."""
    model.alpha, before = alpha, copy.deepcopy(model.state_dict())
    torch.manual_seed(1)
    for _ in range(2):
        outputs = model(x)
        scores = outputs["scores"] if isinstance(outputs, dict) else outputs
        model.zero_grad()
        scores.square().sum().backward()
        with torch.no_grad():
            for theta in model.theta.values():
                theta.sub_(0.01 * theta.grad)
    gradients = [theta.grad.clone() for theta in model.theta.values()]
    after = copy.deepcopy(dict(model.state_dict()))
    model.load_state_dict(before)
    return outputs, gradients, after


def assert_near(found, expected):
    """A few roundings, of the largest number in each tensor."""
    leaves, spec = tree_flatten(found)
    assert spec == tree_flatten(expected)[1]
    for left, right in zip(leaves, tree_leaves(expected), strict=True):
        rounding = 2e-6 if isinstance(right, torch.Tensor) and right.is_floating_point() else 0
        scale = max(map(abs, right.flatten().tolist())) if rounding else 0
        torch.testing.assert_close(left, right, rtol=0, atol=rounding * scale)


@pytest.mark.parametrize("name", CASES)
def test_the_graph_computes_what_the_program_does(name):
    build, draw = CASES[name]
    models = pair_of_models(build)
    x = draw()
    for alpha in ALPHAS:
        plain, compiled = (two_steps(model, x, alpha) for model in models)
        assert_same(compiled, plain) if alpha in (1.0, math.inf) and SAME_SUMS else assert_near(compiled, plain)


@pytest.mark.slow
@pytest.mark.skipif(torch.__version__ < (2, 7), reason="inductor of torch 2.6 draws other numbers in a dropout")
@pytest.mark.parametrize("name", CASES)
def test_inductor_does_too(name):
    build, draw = CASES[name]
    models = pair_of_models(build, backend="inductor")
    x = draw()
    for alpha in ALPHAS:
        assert_near(*(two_steps(model, x, alpha) for model in reversed(models)))


@pytest.fixture
def runs(monkeypatch):
    """The runs of the program; a graph is made by some of them."""
    calls, own = [], Program.__call__

    def call(self, *args, **kwargs):
        calls.append(self)
        return own(self, *args, **kwargs)

    monkeypatch.setattr(Program, "__call__", call)
    return calls


@pytest.mark.parametrize("alphas", ((1.0, 0.1, 1e-6), (1.1, 30.0, 1e7), (math.inf,)))
def test_one_graph_serves_many_alphas_and_no_run_of_the_program_is_left(runs, alphas):
    _, model = pair_of_models(network, alpha=3.0 if alphas[0] <= 1 else 0.5)
    x = torch.randn(5, 6)
    model(x)
    before = len(runs)
    model.alpha = alphas[0]
    model(x)
    made = len(runs)
    assert made > before
    for alpha in alphas:
        model.alpha = alpha
        model(x).sum().backward()
    assert len(runs) == made


def test_all_of_a_step_is_one_graph(runs):
    _, model = pair_of_models(network)
    x, y = torch.randn(5, 6), torch.randint(3, (5,))
    model.differentiate(mse, y, x)
    made = len(runs)
    for alpha in (1.0, 0.1):
        model.alpha = alpha
        loss, output = model.differentiate(mse, y, x)
        assert not loss.requires_grad and not output.requires_grad
    assert len(runs) == made
    assert all(theta.grad.stride() == theta.stride() for theta in model.theta.values())


def differentiated(models, x, alpha, autocast=False):
    """Of each model: loss and output, gradients and buffers, all from where the first is."""
    y, before, results = torch.arange(len(x)) % 3, copy.deepcopy(models[0].state_dict()), []
    for model in models:
        model.alpha = alpha
        model.load_state_dict(before)
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = model.differentiate(converting(cross_entropy, torch.float32), y, x)
        gradients = [theta.grad for theta in model.theta.values()]
        results.append((found, gradients, copy.deepcopy(dict(model.named_buffers()))))
    models[0].load_state_dict(before)
    return results


@pytest.mark.parametrize("name", ("convolutions", "perceptron"))
def test_one_graph_of_a_step_computes_what_the_program_does(name):
    build, draw = CASES[name]
    models, x = pair_of_models(build), draw()
    for alpha in (1.0, 1e7, math.inf):
        plain, compiled = differentiated(models, x, alpha)
        assert_same(compiled, plain) if alpha in (1.0, math.inf) and SAME_SUMS else assert_near(compiled, plain)


def test_autocast_holds_for_the_output_of_a_step_alone():
    models, x = pair_of_models(perceptron), torch.randn(5, 7)
    plain, compiled = differentiated(models, x, math.inf, autocast=True)
    assert_same(compiled, plain)
    exact, _ = differentiated(models, x, math.inf)
    assert not torch.equal(plain[0][1], exact[0][1]) and plain[0][0].dtype == torch.float32


def test_what_is_selected_of_the_inputs_is_of_any_number(runs):
    plain, compiled = models = pair_of_models(Edges)
    for edges in ([[0, 1, 2, 3, 4], [1, 0, 2, 4, 3]], [[0, 1, 2, 3, 4], [4, 1, 2, 3, 3]]):
        edges = torch.tensor(edges)
        for alpha in (1.0, 1e7):
            assert_near(*(two_steps(model, edges, alpha) for model in (compiled, plain)))
            before, after = differentiated(models, edges, alpha)
            assert_near(after, before)
        made = len(runs)
        compiled(edges.flip(1))  # as many, others
        assert len(runs) == made


def test_what_is_frozen_or_out_of_reach_has_no_gradient():
    class Halved(nn.Sequential):
        def forward(self, x):
            return self[0](x)

    plain, compiled = pair_of_models(lambda: Halved(nn.Linear(6, 3), nn.Linear(6, 3)))
    x, y = torch.randn(4, 6), torch.zeros(4, 3)
    for model in (plain, compiled):
        model.theta["0.bias"].requires_grad_(False)
        model.differentiate(mse, y, x)
        assert [name for name, theta in model.theta.items() if theta.grad is not None] == ["0.weight"]
    assert torch.equal(compiled.theta["0.weight"].grad, plain.theta["0.weight"].grad)


def test_hooks_are_called():
    _, model = pair_of_models(network)
    seen = []
    hooks = [
        model.register_forward_hook(lambda *_: seen.append("model")),
        next(iter(model.theta.values())).register_hook(lambda gradient: seen.append("theta")),
    ]
    for remaining in (["model", "theta"], ["theta"], []):
        model.differentiate(mse, torch.zeros(5, 3), torch.randn(5, 6))
        assert seen == remaining
        seen.clear()
        if hooks:
            hooks.pop(0).remove()


def test_growth_in_a_graph_is_within_two_roundings():
    x = torch.linspace(-1, 1, 100_000)
    found = softmax._growth_by_series(0.5, 2 * x)
    expected = 2 * torch.expm1(x.double())
    assert ((found - expected) / expected).abs().max() < 2.4e-7


def test_erfc_of_a_graph_is_within_three_roundings():
    x = torch.linspace(-12, 9, 100_001)  # beyond, it is no normal number
    with jumps.collecting_lost():
        found = erfc(x)
    expected = torch.erfc(x.double())
    assert ((found - expected) / expected).abs().max() < 3.5e-7


def test_beyond_the_range_of_float32_an_alpha_has_its_own_graph():
    plain, compiled = pair_of_models(network)
    x = torch.randn(5, 6)
    for alpha in (1e-20, 1e20):  # 1e20 theta squared, in a norm, overflows; 1e-20 theta squared is 0
        assert_same(two_steps(compiled, x, alpha), two_steps(plain, x, alpha))


def test_float16_differences_keep_their_digits():
    plain, compiled = (model.half() for model in pair_of_models(network))
    x = torch.randn(5, 6).half()
    for model in (plain, compiled):
        model.alpha = 1e5  # theta / alpha is below the smallest float16
    assert plain(x).abs().max() > 0.01
    torch.testing.assert_close(compiled(x), plain(x), rtol=0, atol=0)


def test_each_mode_and_each_decision_has_its_graph():
    class Deciding(nn.Linear):
        def forward(self, x):
            return super().forward(-x if x.sum() > 0 else x)

    plain, compiled = pair_of_models(lambda: nn.Sequential(Deciding(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4)))
    x = torch.rand(5, 3)
    for mode, given in ((True, x), (True, -x), (False, x), (True, x)):
        plain.train(mode), compiled.train(mode)
        assert_same(two_steps(compiled, given, 1.0), two_steps(plain, given, 1.0))


def test_what_runs_as_without(runs):
    plain, model = pair_of_models(network)
    x = torch.randn(5, 6)
    observed = []
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain(x), rtol=0, atol=0)
    with model.observing(lambda *told: observed.append(told)):
        model(x)
    model.forward_recorded({}, x)
    with FlopCounterMode(display=False) as counter:
        model(x)
    assert counter.get_total_flops() > 0
    assert len(observed) == 1 and len(runs) == 5 and not next(iter(model.share_traces(None))).compiled


def test_a_copy_is_compiled_too():
    _, model = pair_of_models(network)
    x = torch.randn(5, 6)
    expected = model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.is_compiled
        torch.testing.assert_close(other(x), expected, rtol=0, atol=0)


def test_direct_differences_are_not_compiled():
    with pytest.raises(ValueError, match='use "divided"'):
        lt.CenteredModel(network().double(), 1.0, difference="direct").compile()


class Odd(nn.Linear):
    def forward(self, x):
        return torch.special.erfcx(super().forward(x))


def test_an_operator_without_a_rule_is_refused_at_every_alpha():
    model = lt.CenteredModel(Odd(6, 3), math.inf)
    model(torch.ones(2, 6))  # as forward mode gives it
    model.compile(EAGER)
    with pytest.raises(lt.UnsupportedOperator, match=r"compiled.*aten\.special_erfcx"):
        model(torch.ones(2, 6))


def test_what_the_backend_cannot_do_is_said():
    def broken(graph, inputs):
        raise ValueError("no such machine")

    model = lt.CenteredModel(network(), 1.0)
    model.compile(broken)
    with pytest.raises(RuntimeError, match="Sequential cannot be compiled .*without compile"):
        model(torch.randn(2, 6))


@pytest.mark.parametrize("device_answers", (True, False))
def test_a_lost_jump_is_told_as_without(monkeypatch, device_answers):
    plain, compiled = pair_of_models(lambda: Masking(6, 3), alpha=1e5)
    x = torch.randn(4, 6)
    for model in (plain, compiled):
        model(x)  # at a small theta / alpha nothing is lost
        model.alpha = 2.0
        for theta in model.theta.values():
            theta.data.copy_(60 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(0)))
    monkeypatch.setattr(jumps, "_lost", {})
    monkeypatch.setattr(reading, "answers_at_once", lambda device: device_answers)
    for model in (plain, compiled):
        with pytest.raises(lt.UnsupportedOperator, match="instead of masking"):
            assert model(x).isnan().any()
            jumps.check_lost("cpu")


def train(compiled, alpha=math.inf, **options):
    model = lt.CenteredModel(network(), alpha)
    if compiled:
        model.compile(EAGER)
    return lt.Trainer(model, TRAIN, TEST, lr=0.1, batch_size=8, probe_size=5, **options)


@pytest.mark.parametrize("options", ({}, {"loss": nn.functional.cross_entropy}))
def test_training_takes_the_same_steps(options):
    """All of a step in one graph, unless the loss is one's own."""
    plain, compiled = train(False, **options), train(True, **options)
    assert without_times([compiled.fit(2)]) == without_times([plain.fit(2)])
    assert_same(compiled.model.state_dict(), plain.model.state_dict())
    assert compiled.member.settings.compile and not plain.member.settings.compile
    kinds = {type(graph) for p in compiled.model.share_traces(None) for graph in p.compiled.values()}
    assert kinds - {Selected} == {Graph if callable(options.get("loss")) else Step}


def test_compiled_models_in_company_take_turns(runs):
    trainers = [train(True), train(True)]
    summaries = fit_together(trainers, 1)
    graphs = [graph for trainer in trainers for p in trainer.model.share_traces(None) for graph in p.compiled]
    assert graphs and summaries[0]["train_loss"] == summaries[1]["train_loss"] == train(False).fit(1)["train_loss"]


def test_a_trainer_compiles_by_inductor(monkeypatch):
    model = lt.CenteredModel(network(), 1.0)
    lt.Trainer(model, TRAIN, TEST, compile=True)
    assert model.is_compiled
    with pytest.raises(ValueError, match="CenteredModel"):
        lt.Trainer(lt.linearize(network()), TRAIN, TEST, compile=True)
