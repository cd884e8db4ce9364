"""Mixtures of experts as they are written by hand: lists of rows whose lengths depend on theta, and may be 0."""

import pytest
import torch
from torch import nn

import lazytorch as lt

FORMS = {}


def form(function):
    FORMS[function.__name__] = function
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


@form
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


@pytest.mark.parametrize("mix", FORMS.values(), ids=FORMS)
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


def of_all_its_rows(experts, x, weights, chosen):
    out = torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows = torch.where(chosen == e)[0]
        if rows.numel() > 0:
            out[rows] += expert(x[rows].sum(0, keepdim=True))
    return out


@pytest.mark.parametrize("mix", (otherwise, on_all_rows, on_all_rows_by_number, of_all_its_rows))
def test_what_an_expert_without_rows_would_change_is_refused(mix):
    net = nn.Sequential(Mixture(mix), nn.Linear(3, 1))
    nn.init.zeros_(net[1].weight)
    model = lt.CenteredModel(net, 10.0)
    with pytest.raises(lt.UntraceableModule, match=r"takes (a )?Python decisions? on .*test_lists.py:\d+, if "):
        model(torch.randn(7, 3))


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
