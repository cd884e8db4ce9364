"""Python decisions on the values of inputs: taken as without a trace, and taken anew where they come out otherwise."""

import pytest
import torch
from torch import nn

import lazytorch as lt


class Branching(nn.Module):
    """Decides by its inputs in one way; ``decide(mask)`` gives a number."""

    def __init__(self, decide):
        super().__init__()
        self.layer, self.decide = nn.Linear(3, 2), decide

    def forward(self, x, mask):
        return self.layer(x) * self.decide(mask)


DECISIONS = {
    "bool": lambda mask: 2.0 if mask.all() else 3.0,
    "item": lambda mask: float(mask.sum().item()),
    "int": lambda mask: int(mask.sum()) + 1,
    "float": lambda mask: float(mask.sum() + 1),
    "index": lambda mask: [5.0, 6.0, 7.0, 8.0, 9.0][mask.sum()],
    "list": lambda mask: sum(mask.tolist()) + 1.0,
    "contains": lambda mask: 2.0 if False in mask else 3.0,
    "equal": lambda mask: 2.0 if torch.equal(mask, torch.ones_like(mask)) else 3.0,
    "of a constant": lambda mask: 2.0 if (mask.long() + torch.tensor([0, 1, 0, 0])).max() > 1 else 3.0,
    "several": lambda mask: (2.0 if mask.any() else 1.0) + (2.0 if mask.all() else 5.0),
}
MASKS = [torch.tensor([True] * 4), torch.tensor([True, False, True, True]), torch.tensor([False] * 4)]


@pytest.mark.parametrize("alpha", (10.0, float("inf")))
@pytest.mark.parametrize("name", DECISIONS)
def test_each_call_decides_as_the_module_does(name, alpha):
    torch.manual_seed(0)
    net, x = Branching(DECISIONS[name]), torch.randn(5, 3)
    model = lt.CenteredModel(net, alpha)
    for theta in model.theta.values():
        nn.init.ones_(theta)
    plain = lt.CenteredModel(net.layer, alpha)
    plain.load_state_dict({key.replace(".layer.", "."): t for key, t in model.state_dict().items()})
    for mask in (*MASKS, *MASKS):
        torch.testing.assert_close(model(x, mask), plain(x) * DECISIONS[name](mask))
    assert 2 <= model.tracing[0] <= 3


def test_sizes_may_be_decided_by_values():
    class Shortened(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x, lengths):
            return self.layer(x[:, : lengths.max()]).sum(1)

    model, x = lt.CenteredModel(Shortened(), 10.0), torch.randn(2, 7, 3)
    for theta in model.theta.values():
        nn.init.ones_(theta)
    for longest in (3, 6, 3):
        part = model(x, torch.tensor([1, longest]))
        torch.testing.assert_close(part, model(x[:, :longest], torch.tensor([1, longest])))


def in_place_of_a_view(x):
    total = x.sum().clone().long()
    total.view(1).mul_(0).add_(3)
    return total.item()


def filled(x):
    numbers = torch.zeros(2, dtype=torch.long)
    numbers[0] = 3
    return numbers.tolist()[0]


@pytest.mark.parametrize("read", (in_place_of_a_view, filled))
def test_what_is_read_has_been_changed_in_place_before(read):
    class Reading(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(x) * read(x)

    model, x = lt.CenteredModel(Reading(), 10.0), torch.randn(5, 3)
    plain = lt.CenteredModel(model.to_module().layer, 10.0)
    for each in (model, plain):
        for theta in each.theta.values():
            nn.init.ones_(theta)
    torch.testing.assert_close(model(x), 3 * plain(x))


def test_numbers_that_the_trace_computes_are_no_decisions():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.flag = nn.Linear(3, 2), torch.tensor(True)
            self.register_buffer("size", torch.tensor(2.0))

        def forward(self, x):
            y = self.layer(x) if self.flag else x
            return y / x.abs().max().item() * self.size.item()

    model = lt.CenteredModel(Normalised(), 10.0)
    for theta in model.theta.values():
        nn.init.ones_(theta)
    x = torch.randn(5, 3)
    torch.testing.assert_close(model(2 * x) * 2 * x.abs().max() / 2, (2 * x).sum(1, keepdim=True).expand(5, 2) + 1)
    model(x)
    assert model.tracing[0] == 1


def test_rehearsals_decide_too():
    from lazytorch.training.counting import without_values

    with without_values():
        model = lt.CenteredModel(Branching(DECISIONS["bool"]), 10.0)
        assert model(torch.randn(5, 3), torch.ones(4, dtype=torch.bool)).shape == (5, 2)


class OnWeights(nn.Module):
    def __init__(self, decide):
        super().__init__()
        self.inner, self.decide = nn.Linear(3, 3), decide

    def forward(self, x):
        return self.inner(x) * (2.0 if self.decide(self.inner, x) else 1.0)


@pytest.mark.parametrize(
    "decide",
    (
        lambda inner, x: inner(x).sum() > 0,
        lambda inner, x: inner.weight.norm() > 1,
        lambda inner, x: torch.rand(()) > 0.5,
    ),
    ids=("outputs", "weights", "random numbers"),
)
def test_decisions_by_weights_are_refused_with_their_place(decide):
    model = lt.CenteredModel(nn.Sequential(OnWeights(decide)), 10.0)
    place = r"test_decisions.py:\d+, return self.inner\(x\) \* \(2.0 if"
    with pytest.raises(lt.UntraceableModule, match=rf"module '0' takes a Python decision .*{place}"):
        model(torch.randn(4, 3))


def test_members_of_a_shared_start_decide_alike():
    net, x = Branching(DECISIONS["bool"]), torch.randn(5, 3)
    models = [lt.CenteredModel(net, alpha) for alpha in (1.0, 100.0)]
    start = lt.SharedStart(models)
    for model in models:
        for theta in model.theta.values():
            nn.init.ones_(theta)
    for mask in (MASKS[0], MASKS[1], MASKS[0]):
        for model, output in zip(models, start(x, mask), strict=True):
            torch.testing.assert_close(output, model(x, mask))


def test_outputs_that_are_no_tensors():
    class Cache:
        def __init__(self, tensor):
            self.tensor = tensor

    class WithCache(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            y = self.layer(x)
            return {"y": y, "cache": Cache(y), "n": 3, "none": None, "words": "kept"}

    outputs = lt.CenteredModel(WithCache(), 10.0)(torch.randn(4, 3))
    assert outputs["y"].shape == (4, 2) and outputs["cache"] is None
    assert (outputs["n"], outputs["none"], outputs["words"]) == (3, None, "kept")
