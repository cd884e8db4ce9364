"""Mixtures of experts as they are written by hand: lists of rows whose lengths depend on theta, and may be 0."""

import functools

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.differences import supposing

FORMS = []
OLD = torch.__version__ < (2, 7)
ONE_HOT = pytest.mark.skipif(OLD, reason="one_hot of torch 2.6 decides in Python by values")


def form(function, marks=()):
    FORMS.append(pytest.param(function, marks=marks, id=function.__name__))
    return function


@form
def numel(experts, x, weights, chosen):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, slot = torch.where(chosen == e)
        if rows.numel() == 0:
            continue
        out[rows] += expert(x[rows]) * weights[rows, slot, None]
    return out


@form
def length(experts, x, weights, chosen):
    out, flat = torch.zeros_like(x), chosen.flatten()
    for e, expert in enumerate(experts):
        places = (flat == e).nonzero(as_tuple=True)[0]
        if len(places) > 0:
            rows = places // chosen.shape[1]
            values = expert(x[rows]) * weights.flatten()[places].unsqueeze(1)
            out = out.scatter_add(0, rows[:, None].expand(-1, x.shape[1]), values)
    return out


@functools.partial(form, marks=ONE_HOT)
def hit(experts, x, weights, chosen):
    out, mask = torch.zeros_like(x), nn.functional.one_hot(chosen, len(experts)).permute(2, 1, 0)
    for e in (mask.sum((1, 2)) > 0).nonzero():
        slot, rows = torch.where(mask[e].squeeze(0))
        values = experts[e](x[None, rows].reshape(-1, x.shape[1])) * weights[rows, slot, None]
        out.index_add_(0, rows, values)
    return out


@form
def masked(experts, x, weights, chosen):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        mine = chosen == e
        if not mine.any():
            continue
        rows = mine.any(1)
        out[rows] += expert(x[rows]) * (weights * mine).sum(1)[rows].unsqueeze(1)
    return out


@form
def counted_and_joined(experts, x, weights, chosen):
    every, values = [], []
    for e, expert in enumerate(experts):
        mine = chosen == e
        if mine.sum() == 0:
            continue
        rows, slot = mine.nonzero().T
        every.append(rows)
        values.append(expert(x[rows]) * weights[rows, slot, None])
    return torch.zeros_like(x).index_add(0, torch.cat(every), torch.cat(values))


class Mixture(nn.Module):
    """Two of four experts for each row."""

    def __init__(self, mix, expert=lambda: nn.Sequential(nn.Linear(3, 3), nn.GELU())):
        super().__init__()
        self.mix, self.first, self.router = mix, nn.Linear(3, 3), nn.Linear(3, 4)
        self.experts = nn.ModuleList(expert() for _ in range(4))

    def forward(self, x):
        x = self.first(x)
        weights, chosen = self.router(x).softmax(1).topk(2)
        return self.mix(self.experts, x, weights, chosen)


def choices(weights, x):
    """Which experts each row has at the weights."""
    for layer in ("first", "router"):
        x = nn.functional.linear(x, weights[f"{layer}.weight"], weights[f"{layer}.bias"])
    return nn.functional.one_hot(x.softmax(1).topk(2)[1], 4).sum(1).bool()


def outputs_and_gradients(model, x):
    output = model(x)
    weighted = (output * torch.linspace(1, 2, output.numel(), dtype=output.dtype).view_as(output)).sum()
    thetas = list(model.parameters())
    gradients = torch.autograd.grad(weighted, thetas, allow_unused=True, materialize_grads=True)
    return [output, *gradients]


@pytest.mark.parametrize("mix", FORMS)
def test_experts_have_other_rows_at_w_and_some_none(mix):
    torch.manual_seed(0)
    net, x = Mixture(mix).double(), torch.randn(7, 3).double()
    with torch.no_grad():
        net.router.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -50.0]))
    model, direct = lt.CenteredModel(net, 1.0), lt.CenteredModel(net, 1.0, difference="direct")
    move = {name: torch.randn_like(theta) for name, theta in model.theta.items()}
    move["router.bias"] = torch.tensor([-50.0, 0.0, 0.0, 50.0]).double()
    for alpha in (0.5, 3.0, 1e3):
        model.alpha = direct.alpha = alpha
        for each in (model, direct):
            for name, theta in each.theta.items():
                nn.init.zeros_(theta).data.add_(move[name], alpha=alpha)
        before, after = (choices(weights, x) for weights in (model.initial_weights(), model.weights()))
        assert not before[:, 3].any() and not after[:, 0].any() and (before != after)[:, 1:3].any()
        expected = outputs_and_gradients(direct, x)
        torch.testing.assert_close(outputs_and_gradients(model, x), expected, rtol=1e-9, atol=1e-9 * alpha)
    tangent = lt.linearize(net)
    tangent.load_state_dict({name: t for name, t in model.state_dict().items() if name in tangent.state_dict()})
    model.alpha = float("inf")
    torch.testing.assert_close(outputs_and_gradients(model, x), outputs_and_gradients(tangent, x))
    assert model.tracing[0] == 1


@ONE_HOT
def test_rows_that_keep_their_experts_are_as_exact_as_without_the_others():
    """In whatever order."""
    torch.manual_seed(0)
    net, x = Mixture(hit), 5 * torch.randn(40, 3)
    nn.init.zeros_(net.router.weight)
    nn.init.zeros_(net.router.bias)
    model = lt.CenteredModel(net, 1e7)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    nn.init.zeros_(model.theta["router.bias"])
    exact = lt.CenteredModel(net.double(), 1e7, difference="direct")
    exact.load_state_dict(model.state_dict())
    start, end = exact.initial_weights(), exact.weights()
    stays = (choices(start, x.double()) == choices(end, x.double())).all(1)
    assert stays.any() and not stays.all()
    output, expected = model(x).double(), exact(x.double())
    assert expected[stays].abs().max() < 1e3 < 1e5 < expected[~stays].abs().max()
    assert ((output - expected).norm(dim=1) < 1e-5 * expected.norm(dim=1)).all()


def otherwise(experts, x, weights, chosen):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, slot = torch.where(chosen == e)
        if rows.numel() == 0:
            out = out + 1
            continue
        out = out.index_add(0, rows, expert(x[rows]) * weights[rows, slot, None])
    return out


def on_all_rows(experts, x, weights, chosen):
    for e, expert in enumerate(experts):
        if (chosen == e).any():
            x = x + expert(x)
    return x


def on_all_rows_by_number(experts, x, weights, chosen):
    for e, expert in enumerate(experts):
        if (chosen == e).nonzero().shape[0] > 0:
            x = x + expert(x)
    return x


def row_by_row(compute):
    """A mixture in which each expert adds compute(expert, x, its rows) to its rows."""

    @functools.wraps(compute)
    def mix(experts, x, weights, chosen):
        out = torch.zeros_like(x)
        for e, expert in enumerate(experts):
            rows = torch.where(chosen == e)[0]
            if rows.numel() > 0:
                out[rows] += compute(expert, x, rows)
        return out

    return mix


@row_by_row
def of_all_its_rows(expert, x, rows):
    return expert(x[rows].sum(0, keepdim=True))


@row_by_row
def up_to_a_capacity(expert, x, rows):
    kept = torch.ones_like(rows).cumsum(0) <= 5
    return expert(x[rows]) * kept.unsqueeze(1)


def as_long_as_there_are_any(experts, x, weights, chosen):
    while (x[:, 0] > 0).any():
        x = experts[0](x)
    return x


def as_long_as_some_are_left(experts, x, weights, chosen):
    rows = x[:, 0].argsort()
    while len(rows):
        rows = rows[x[rows, 0] > x[rows[0], 0]]
    return x


REFUSED = (otherwise, on_all_rows, on_all_rows_by_number, of_all_its_rows, up_to_a_capacity)
REFUSED += (as_long_as_there_are_any,)
if not OLD:  # it refuses this by another line
    REFUSED += (as_long_as_some_are_left,)


@pytest.mark.parametrize("mix", REFUSED)
def test_what_an_expert_without_rows_would_change_is_refused(mix, monkeypatch):
    monkeypatch.setattr(supposing, "MOST", 64)
    net = nn.Sequential(Mixture(mix), nn.Linear(3, 1))
    nn.init.zeros_(net[1].weight)
    model = lt.CenteredModel(net, 10.0)
    with pytest.raises(lt.UntraceableModule, match=r"takes (a )?Python decisions? on .*test_lists.py:\d+, (if|while) "):
        model(torch.randn(7, 3))


def mean_of_its_rows(experts, x, weights, chosen):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = torch.where(chosen == e)[0]
        if rows.numel() > 0:
            out[rows] += expert(x[rows].mean(0, keepdim=True))
    return out


class OrItsInput(Mixture):
    def forward(self, x):
        chosen, out = self.router(self.first(x)).argmax(1), torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            rows = torch.where(chosen == e)[0]
            if rows.numel() > 0:
                out[rows] += expert(self.first(x)[rows])
            else:
                out = out + x
        return out


class WithMeanLater(Mixture):
    """By a buffer that is 0 as yet."""

    def __init__(self, mix):
        super().__init__(mix)
        self.register_buffer("share", torch.zeros(()))

    def forward(self, x):
        return numel(self.experts, x, *self.router(self.first(x)).topk(2)) + self.share * super().forward(x)


@pytest.mark.parametrize("make", (Mixture, OrItsInput, WithMeanLater))
@pytest.mark.parametrize("value", (0.0, 1.0))
def test_it_is_refused_on_inputs_that_are_all_alike(make, value):
    with pytest.raises(lt.UntraceableModule, match="test_lists.py"):
        lt.CenteredModel(make(mean_of_its_rows), 10.0)(torch.full((7, 3), value))


class Doubled(nn.Linear):
    """Where more than two are positive; the first call has none."""

    def forward(self, x):
        h = super().forward(x)
        rows = torch.where(h[:, 0] > 0)[0]
        if len(rows) == 0:
            return h
        h = h.index_add(0, rows, h[rows])
        return 2 * h if len(rows) > 2 else h


def test_more_elements_than_the_first_call_has_are_thought_of():
    net = Doubled(1, 1, bias=False)
    nn.init.ones_(net.weight)
    with pytest.raises(lt.UntraceableModule, match="test_lists.py"):
        lt.CenteredModel(net, 10.0)(torch.tensor([[-1.0], [-2.0], [-3.0]]))


class First(nn.Linear):
    """The first of those that are positive."""

    def forward(self, x):
        h = super().forward(x)[:, 0]
        return h[h > 0][:1].sum()


def test_the_first_of_a_list_is_not_one_that_is_not_selected():
    net = First(1, 1, bias=False)
    nn.init.ones_(net.weight)
    model = lt.CenteredModel(net, 1.0001)
    nn.init.constant_(model.theta["weight"], -2 * model.alpha)
    with pytest.raises(lt.UnsupportedOperator, match="how much it selects depends on theta"):
        model(torch.tensor([[-1.0], [1.0], [2.0]]))


class Shifted(nn.Linear):
    """Written to the places before those that are selected, of which one is -1."""

    def forward(self, x, by_input):
        h, mask = super().forward(x), x[:, 0] > -9
        rows = (mask if by_input else mask & (h[:, 0] < 99)).nonzero()[:, 0]
        out = torch.zeros_like(h)
        out[rows - 1] = h[rows]
        return out


@pytest.mark.parametrize("by_input", (True, False))
def test_lists_write_to_places_that_count_from_the_end(by_input):
    net, x = Shifted(3, 3), torch.randn(5, 3)
    model, plain = lt.CenteredModel(net, 10.0), lt.CenteredModel(nn.Linear(3, 3), 10.0)
    for theta in (*model.theta.values(), *plain.theta.values()):
        nn.init.ones_(theta)
    torch.testing.assert_close(model(x, by_input), plain(x).roll(-1, 0))


class OneOfEach(Mixture):
    """Weights by the expert of each row."""

    def forward(self, x):
        h = self.first(x)
        expert, rows = torch.where(nn.functional.one_hot(self.router(h).argmax(1), 4).T.bool())
        values = torch.einsum("nij,nj->ni", torch.stack([e[0].weight for e in self.experts])[expert], h[rows])
        return torch.zeros_like(h).index_put((rows,), values)


@ONE_HOT
def test_experts_are_an_index():
    torch.manual_seed(0)
    net, x = OneOfEach(None).double(), torch.randn(7, 3).double()
    model, direct = lt.CenteredModel(net, 3.0), lt.CenteredModel(net, 3.0, difference="direct")
    for mine, other in zip(model.parameters(), direct.parameters(), strict=True):
        other.data.copy_(nn.init.normal_(mine, std=6.0))
    torch.testing.assert_close(outputs_and_gradients(model, x), outputs_and_gradients(direct, x))


def two_levels(experts, x, weights, chosen):
    out, first = torch.zeros_like(x), chosen[:, 0] < 2
    for half, rows in enumerate((first.nonzero()[:, 0], (~first).nonzero()[:, 0])):
        inner, values = torch.zeros_like(x[rows]), x[rows]
        for e in range(2):
            mine = values[:, e] > 0
            if mine.any():
                inner[mine] += experts[2 * half + e](values[mine])
        out[rows] += inner
    return out


def test_lists_of_what_a_list_holds_are_refused():
    with pytest.raises(lt.UntraceableModule, match="test_lists.py"):
        lt.CenteredModel(Mixture(two_levels), 10.0)(torch.randn(7, 3))


def up_to_many(experts, x, weights, chosen):
    rows = torch.where(chosen[:, 0] == 0)[0]
    kept = torch.ones_like(rows).cumsum(0) <= 12
    return torch.zeros_like(x).index_add(0, rows, x[rows] * kept.unsqueeze(1))


def test_a_trace_for_all_sizes_serves_none_beyond_those_that_it_is_tried_at():
    torch.manual_seed(0)
    model = lt.CenteredModel(Mixture(up_to_many), 10.0)
    nn.init.normal_(model.theta["router.weight"], std=100)
    for size in range(2, 12):
        model(torch.randn(size, 3))
    traces = model.tracing[0]
    model(torch.randn(9, 3))
    assert model.tracing[0] == traces
    with pytest.raises(lt.UnsupportedOperator, match="how much it selects depends on theta"):
        model(torch.randn(60, 3))


def by_their_number(experts, x, weights, chosen):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = torch.where(chosen == e)[0]
        out = out.index_add(0, rows, expert(x[rows]) * rows.numel())
    return out


def test_what_the_number_of_rows_changes_runs_where_that_is_the_same():
    torch.manual_seed(0)
    net, x = Mixture(by_their_number).double(), torch.randn(7, 3).double()
    model, direct = lt.CenteredModel(net, 10.0), lt.CenteredModel(net, 10.0, difference="direct")
    for mine, other in zip(model.parameters(), direct.parameters(), strict=True):
        other.data.copy_(nn.init.normal_(mine, std=1e-3))
    torch.testing.assert_close(model(x), direct(x))
    nn.init.normal_(model.theta["router.weight"], std=100)
    with pytest.raises(lt.UnsupportedOperator, match="how much it selects depends on theta"):
        model(x)


def test_dropout_is_drawn_once_for_rows_of_either_end():
    torch.manual_seed(0)
    net, x = Mixture(numel, lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))), torch.randn(7, 3)
    model = lt.CenteredModel(net, 10.0)
    nn.init.normal_(model.theta["experts.0.0.weight"])
    nn.init.normal_(model.theta["experts.1.0.weight"])
    output, chosen = model(x), choices(model.initial_weights(), x)
    assert output.any() and not output[~chosen[:, :2].any(1)].any()


def test_members_of_a_shared_start_have_lists_of_their_own():
    torch.manual_seed(0)
    net, x = Mixture(numel), torch.randn(20, 3)
    models = [lt.CenteredModel(net, alpha) for alpha in (1.0, 3.0, 10.0)]
    for model in models:
        for theta in model.theta.values():
            nn.init.normal_(theta, std=model.alpha)
    for model, output in zip(models, lt.SharedStart(models)(x), strict=True):
        torch.testing.assert_close(output, model(x))


def test_elements_that_inputs_select():
    class Kept(nn.Linear):
        def forward(self, x, mask):
            return super().forward(x)[mask].mean(0)

    net, x = Kept(3, 2), torch.randn(7, 3)
    model, plain = lt.CenteredModel(net, 10.0), lt.CenteredModel(nn.Linear(3, 2), 10.0)
    for theta in (*model.theta.values(), *plain.theta.values()):
        nn.init.ones_(theta)
    for mask in (x[:, 0] > 0, x[:, 0] > -9):
        torch.testing.assert_close(model(x, mask), plain(x)[mask].mean(0))
    assert model(x, x[:, 0] > 9).isnan().all()
    assert model.tracing[0] == 1
