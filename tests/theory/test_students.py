"""Students side by side against modules one by one, their exact population loss against quadrature; with teeth."""

import math

import pytest
import torch
from torch import nn

from lazytorch.theory.students import (
    Students,
    descend,
    draw_teacher,
    population_loss,
    sphere,
    stack_trials,
    symmetrised,
    two_layer,
)

TRIALS, SCALES, NEURONS, INPUTS, D = 2, 3, 6, 20, 5
STEP = torch.tensor([0.3, 0.1, 0.05], dtype=torch.float64)
SCALING = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
TAU = torch.tensor([0.1, 1.0, 2.0], dtype=torch.float64)


class Student(nn.Module):
    """f(x) = alpha sum_j b_j relu(a_j . x)."""

    def __init__(self, a, b, alpha):
        super().__init__()
        self.a, self.b, self.alpha = nn.Parameter(a.clone()), nn.Parameter(b.clone()), alpha

    def forward(self, x):
        return self.alpha * (torch.relu(x @ self.a.T) @ self.b)


def draw(generator):
    a = torch.randn(NEURONS // 2, D, generator=generator, dtype=torch.float64)
    a, b = symmetrised(a, torch.randn(NEURONS // 2, generator=generator, dtype=torch.float64))
    teacher = draw_teacher(D, generator)
    x, test_x = sphere(INPUTS, D, generator=generator), sphere(INPUTS, D, generator=generator)
    return a, b, x, two_layer(*teacher, x), test_x, two_layer(*teacher, test_x)


@pytest.fixture(scope="module")
def drawn():
    return stack_trials(draw, 0, range(TRIALS))


def students(drawn, trials=slice(None), scales=slice(None), step=STEP):
    a, b = TAU[:, None, None] * drawn[0].unsqueeze(1), TAU[:, None] * drawn[1].unsqueeze(1)
    return Students(a[trials, scales], b[trials, scales], step[scales], SCALING[scales])


def one_by_one(drawn, steps, divide=True):
    """(train, test, best) losses of a loop over modules that descend R(alpha h) / alpha^2, or R if not ``divide``."""
    a, b, x, y, test_x, test_y = drawn
    losses = torch.empty(3, TRIALS, SCALES, dtype=torch.float64)
    for trial in range(TRIALS):
        for s in range(SCALES):
            net = Student(TAU[s] * a[trial], TAU[s] * b[trial], SCALING[s])
            lr = STEP[s] / SCALING[s] ** 2 if divide else STEP[s]
            optimizer = torch.optim.SGD(net.parameters(), lr=lr.item())
            best = math.inf
            for step in range(steps + 1):
                optimizer.zero_grad()
                loss = (net(x[trial]) - y[trial]).square().mean() / 2
                test = (net(test_x[trial]) - test_y[trial]).square().mean().item() / 2
                best = min(best, test)
                if step < steps:
                    loss.backward()
                    optimizer.step()
            losses[:, trial, s] = torch.tensor([loss.item(), test, best], dtype=torch.float64)
    return losses


def test_side_by_side_as_modules_one_by_one(drawn):
    end = descend(students(drawn), drawn[2:4], drawn[4:], steps=30, evaluate_every=1)
    expected = one_by_one(drawn, 30)
    torch.testing.assert_close(torch.stack([end.train, end.test, end.best]), expected, rtol=1e-10, atol=1e-14)
    assert (end.train < students(drawn).losses(*drawn[2:4])).all()


def test_wrong_steps_and_scalings_are_caught(drawn):
    expected = one_by_one(drawn, 30)[0]
    other = one_by_one(drawn, 30, divide=False)[0]
    one = SCALING == 1
    assert torch.equal(other[:, one], expected[:, one]) and ((other / expected - 1)[:, ~one].abs() > 0.1).all()
    wrong = descend(students(drawn, step=1.01 * STEP), drawn[2:4], drawn[4:], steps=30, evaluate_every=30).train
    assert ((wrong / expected - 1).abs() > 1e-4).all()


def test_what_is_trained_beside_a_student_does_not_change_it(drawn):
    together, train = students(drawn), drawn[2:4]
    alone = [[students(drawn, slice(t, t + 1), slice(s, s + 1)) for s in range(SCALES)] for t in range(TRIALS)]
    for _ in range(30):
        losses = together.step(*train)
        for t, row in enumerate(alone):
            for s, one in enumerate(row):
                loss = one.step(*(tensor[t : t + 1] for tensor in train))
                torch.testing.assert_close(loss[0, 0], losses[t, s], rtol=1e-10, atol=1e-14)


def test_a_trial_draws_the_same_whatever_is_drawn_with_it(drawn):
    for several, one in zip(drawn, stack_trials(draw, 0, [1]), strict=True):
        assert torch.equal(several[1], one[0])
    assert not torch.equal(drawn[0][0], drawn[0][1]) and not torch.equal(stack_trials(draw, 1, [1])[0], drawn[0][1:])


def test_one_that_diverges_is_infinite_and_leaves_the_others(drawn):
    step = torch.tensor([0.3, 1e9, 0.05], dtype=torch.float64)
    end = descend(students(drawn, step=step), drawn[2:4], drawn[4:], steps=60, evaluate_every=1)
    calm = descend(students(drawn), drawn[2:4], drawn[4:], steps=60, evaluate_every=1)
    assert (end.train[:, 1] == math.inf).all() and (end.test[:, 1] == math.inf).all()
    assert end.best.isfinite().all()  # before it diverged
    torch.testing.assert_close(end.train[:, ::2], calm.train[:, ::2], rtol=1e-10, atol=1e-14)
    huge = Students(1e200 * drawn[0].unsqueeze(1), drawn[1].abs().unsqueeze(1), 0.1)  # whose loss overflows
    assert (huge.losses(*drawn[2:4]) == math.inf).all()


def test_a_symmetrised_student_is_zero_at_the_start_and_others_are_not(drawn):
    a, b, x = drawn[0], drawn[1], drawn[2]
    scale = two_layer(a, b.abs(), x).abs().max()
    assert two_layer(a, b, x).abs().max() < 1e-14 * scale
    assert two_layer(a, torch.cat([b[:, : NEURONS // 2]] * 2, -1), x).abs().max() > 0.1 * scale
    assert students(drawn).outputs(x).abs().max() < 1e-14 * scale


def test_the_teacher_has_unit_neurons_and_signs():
    a, b = draw_teacher(7, torch.Generator().manual_seed(0), neurons=40)
    torch.testing.assert_close(a.norm(dim=-1), torch.ones(40, dtype=torch.float64))
    assert set(b.tolist()) == {-1.0, 1.0}


def test_the_population_loss_is_the_mean_over_the_circle():
    generator = torch.Generator().manual_seed(0)
    teacher = draw_teacher(2, generator)
    a, b = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((4, 2), (4,)))
    angle = torch.arange(20_000, dtype=torch.float64) * 2 * math.pi / 20_000
    x = torch.stack([angle.cos(), angle.sin()], -1)
    quadrature = (two_layer(a, b, x) - two_layer(*teacher, x)).square().mean() / 2
    found = population_loss((a, b), teacher)
    torch.testing.assert_close(found, quadrature, rtol=1e-7, atol=0)
    assert population_loss(teacher, teacher).abs() < 1e-15
    gaussian = 2 * found  # for x ~ N(0, I), the wrong formula here
    assert (gaussian / quadrature - 1).abs() > 0.5


def test_the_population_loss_in_higher_dimension_is_that_of_many_inputs():
    generator = torch.Generator().manual_seed(1)
    teacher = draw_teacher(10, generator)
    a, b = symmetrised(*(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((3, 10), (3,))))
    x = sphere(200_000, 10, generator=generator)
    errors = (two_layer(a, 0.5 * b.abs(), x) - two_layer(*teacher, x)).square() / 2
    deviation = errors.std() / len(x) ** 0.5
    assert (population_loss((a, 0.5 * b.abs()), teacher) - errors.mean()).abs() < 4 * deviation
    assert deviation < 0.01 * errors.mean()


def test_steps_below_the_rounding_of_large_weights_are_not_lost(drawn):
    tau, step = 30.0, 0.1 / 30.0**2

    def moved(dtype, plain=False):
        a, b, x, y = (tensor.to(dtype) for tensor in drawn[:4])
        trained = Students(tau * a.unsqueeze(1), tau * b.unsqueeze(1), step)
        start = trained.a.clone()
        for _ in range(1000):
            trained.step(x, y)
            if plain:  # w <- w - step
                trained = Students(trained.a, trained.b, step)
        return (trained.a - start).double()

    exact = moved(torch.float64)
    assert (moved(torch.float32) - exact).norm() < 1e-3 * exact.norm()
    assert (moved(torch.float32, plain=True) - exact).norm() > 1e-2 * exact.norm()
