"""One trace for inputs of many sizes: the same numbers as a trace for each."""

import pytest
import torch
from torch import nn
from torch.nn.attention.flex_attention import flex_attention

import lazytorch as lt
from lazytorch.differences import Program
from lazytorch.traces import SIZES


class Encoder(nn.Module):
    """Tokens and positions, attention with dropout, and its number of tokens."""

    def __init__(self):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(11, 8), nn.Embedding(40, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)

    def forward(self, tokens):
        length = tokens.shape[1]
        return self.layer(self.tokens(tokens) + self.positions(torch.arange(length))), length


class Signal(nn.Module):
    """Convolution, batch norm, dropout, an average over time."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Conv1d(3, 6, 3, padding=1), nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(nn.functional.dropout(self.norm(self.first(x)).relu(), 0.2, self.training).mean(-1))


class Branching(nn.Module):
    """Another function for long inputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return torch.tanh(self.layer(x)) if x.shape[1] > 9 else self.layer(x)


class Attending(nn.Module):
    """By flex_attention, whose trace is traced once more; another function for long inputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        y = self.layer(x)[:, None]
        y = flex_attention(y, y, y)
        return torch.tanh(y) if x.shape[1] > 9 else y


class Halved(nn.Module):
    """Both halves, each by itself; lengths of what depends on the weights."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        first, second = self.layer(x).chunk(2, 1)
        return torch.cat([first.softmax(1) * first.shape[1], second.tanh(), self.layer(x[:, : x.shape[1] // 2])], 1)


class Named(nn.Module):
    """Its scale is looked up by the name of a size."""

    def __init__(self):
        super().__init__()
        self.layer, self.scales = nn.Linear(4, 4), {"30": 3.0, "(3, 31, 4)": 5.0}

    def forward(self, x):
        return self.layer(x) * self.scales.get(f"{x.shape[1]}", self.scales.get(str(tuple(x.shape)), 1.0))


class Typed(nn.Module):
    """Its scale depends on the type of a size."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x) * (1 if isinstance(x.shape[1], int) else 2)


class Recurrent(nn.Module):
    """Of which a trace has every step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.RNN(4, 3, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0]


def tokens(length):
    return torch.randint(11, (2, length))


def signals(length):
    return torch.randn(4, 3, length)


def rows(length):
    return torch.randn(3, length, 4)


def displaced(net, alpha):
    model = lt.CenteredModel(net, alpha)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def call(model, x):
    """Output and gradient, with the same random numbers every time."""
    torch.manual_seed(1)
    model.zero_grad()
    output = model(x)
    (output[0] if isinstance(output, tuple) else output).square().sum().backward()
    return output, [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def direct(model, x):
    """In float64, by subtraction."""
    start, end, structure = model.initial_weights(), model.weights(), model.structure
    outputs = [torch.func.functional_call(structure, {k: t.double() for k, t in w.items()}, x) for w in (end, start)]
    return model.alpha * (outputs[0] - outputs[1])


@torch.no_grad()
def called_on(model, inputs, lengths):
    for length in lengths:
        model(inputs(length))
    return model


@pytest.mark.parametrize("alpha", [0.5, 100.0, float("inf")])
@pytest.mark.parametrize(("build", "inputs"), [(Encoder, tokens), (Signal, signals)])
def test_numbers_do_not_depend_on_the_sizes_that_came_before(build, inputs, alpha):
    torch.manual_seed(0)
    net = build()
    model = called_on(displaced(net, alpha), inputs, range(2, 2 + SIZES))
    for length in (20, 33, 16):
        x, fresh = inputs(length), lt.CenteredModel(net, alpha)
        fresh.load_state_dict(model.state_dict())
        torch.testing.assert_close(call(model, x), call(fresh, x), rtol=0, atol=0)
        torch.testing.assert_close(model.state_dict(), fresh.state_dict(), rtol=0, atol=0)
    if build is Signal or torch.__version__ >= (2, 8):  # attention with dropout of torch 2.6 asks for numbers
        assert model.tracing[0] == SIZES + 1


def test_what_has_every_step_in_its_trace_has_one_for_each_size():
    model = called_on(displaced(Recurrent().double(), 10.0), lambda n: rows(n).double(), range(2, 5 + SIZES))
    assert model.tracing[0] == SIZES + 3
    x = rows(3 + SIZES).double()
    torch.testing.assert_close(model(x), direct(model, x))


def test_what_python_decides_by_a_size_is_decided_anew():
    model = called_on(displaced(Branching().double(), 10.0), lambda n: rows(n).double(), range(12, 12 + SIZES))
    for length in (30, 9, 31, 5):
        x = rows(length).double()
        torch.testing.assert_close(model(x), direct(model, x))
    assert model.tracing[0] == SIZES + 1 + 2


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_what_is_decided_before_a_trace_is_traced_again_holds():
    net = Attending()
    program = Program(net, dict(net.named_parameters()), (rows(12),), {}, [frozenset([1])])
    if torch.__version__ >= (2, 7):  # flex_attention of torch 2.6 asks for numbers
        assert program.serves([(3, 20, 4)])
    assert not program.serves([(3, 9, 4)])


@pytest.mark.parametrize(("build", "alpha"), [(Halved, 0.5), (Named, 10.0), (Typed, 10.0)])
def test_numbers_and_names_of_sizes(build, alpha):
    model = called_on(displaced(build().double(), alpha), lambda n: rows(n).double(), range(2, 3 + SIZES))
    for length in (30, 31, 5):
        x = rows(length).double()
        torch.testing.assert_close(model(x), direct(model, x))


def test_a_size_whose_half_is_nothing():
    class First(nn.Linear):
        def forward(self, x):
            return super().forward(x[:, : x.shape[1] // 2])

    model = called_on(displaced(First(4, 4), 10.0), rows, range(2, 3 + SIZES))
    assert model(rows(1)).shape == (3, 0, 4)


def test_nothing_is_said_of_what_torch_cannot_trace_by_symbols(capfd):
    class Padded(nn.Linear):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (0, 0, 0, -x.shape[1] % 4)))

    model = called_on(displaced(Padded(4, 4), 10.0), rows, range(2, 3 + SIZES))
    assert model.tracing[0] == SIZES + 1
    assert capfd.readouterr().err == ""


def test_a_device_among_the_arguments():
    class Placed(nn.Linear):
        def forward(self, x, device):
            return super().forward(x.to(device))

    net, x = Placed(4, 4), torch.randn(3, 4)
    model, plain = displaced(net, 10.0), lt.CenteredModel(nn.Linear(4, 4), 10.0)
    plain.load_state_dict(model.state_dict())
    torch.testing.assert_close(model(x, torch.device("cpu")), plain(x), rtol=0, atol=0)


def test_one_of_many_examples_and_of_many_lengths():
    model = displaced(Signal().eval(), 10.0)
    with torch.no_grad():
        for number in range(2, 2 + SIZES):
            model(torch.randn(number, 3, 3 + number))
        count = model.tracing[0]
        x = torch.randn(13, 3, 21)
        torch.testing.assert_close(model(x), torch.cat([model(row) for row in x.split(1)]))
    assert model.tracing[0] == count + 2  # of any size, and of one example


def test_a_compiled_model_keeps_a_graph_for_each_size():
    net = nn.Linear(4, 2)
    model, plain = displaced(net, 10.0), lt.CenteredModel(net, 10.0)
    plain.load_state_dict(model.state_dict())
    model.compile("aot_eager")
    for length in range(2, 4 + SIZES):
        x = rows(length)
        torch.testing.assert_close(call(model, x), call(plain, x))
    assert (model.tracing[0], plain.tracing[0]) == (SIZES + 2, SIZES + 1)


def test_inside_transforms():
    model = displaced(Signal().eval(), 10.0)
    weights = dict(model.named_parameters())

    def output(weights, x):
        return torch.func.functional_call(model, weights, (x[None],)).sum()

    for length in range(2, 4 + SIZES):
        x = signals(length)
        each = torch.func.vmap(torch.func.grad(output), (None, 0))(weights, x)
        model.zero_grad()
        model(x).sum().backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(each[name].sum(0), parameter.grad)
