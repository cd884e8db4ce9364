"""The theorem's constants against their derivation, its bounds on instances where they are met with equality, and what
the certificate says where hypotheses fail."""

import dataclasses
import math

import pytest
import torch
from scipy.integrate import quad
from torch import nn

import lazytorch as lt
from lazytorch.theory import LazyBounds, TwoLayerSmooth, certify, lazy_bounds

FAST = {"points": 3, "horizon": 5, "rtol": 1e-8}
BOUNDS = LazyBounds(s_min=0.7, s_max=1.9, initial_loss=2.3, beta=0.4, beta_source="given", shape=(3, 8))


def instance(n=2, d=3, m=8, seed=0):
    torch.manual_seed(seed)
    x = nn.functional.normalize(torch.randn(n, d, dtype=torch.float64))
    return TwoLayerSmooth(d, m).double(), x, torch.randn(n, 1, dtype=torch.float64)


def follow_from_their_derivation(bounds):
    """Each from the step before, by quadrature, at alpha = 1 and 3."""

    def distance(largest, loss):  # of |dtheta / ds| <= largest sqrt(2 L)
        return quad(lambda s: largest * math.sqrt(2 * loss(torch.tensor(s)).item()), 0, math.inf)[0]

    s = torch.tensor(1.7, dtype=torch.float64)
    low, high = bounds.s_min - bounds.beta * bounds.radius, bounds.s_max + bounds.beta * bounds.radius
    return (
        bounds.corridor[0] == pytest.approx(low)
        and high <= bounds.corridor[1] == 1.5 * bounds.s_max
        and bounds.loss(s).item() == pytest.approx(bounds.initial_loss * math.exp(-2 * low**2 * 1.7))
        and bounds.displacement(3) == pytest.approx(distance(bounds.corridor[1], bounds.loss) / 3)
        and bounds.displacement(bounds.threshold) == pytest.approx(bounds.radius)
        and bounds.linear_loss(s).item() == pytest.approx(bounds.initial_loss * math.exp(-2 * bounds.s_min**2 * 1.7))
        and bounds.linear_displacement(3) == pytest.approx(distance(bounds.s_max, bounds.linear_loss) / 3)
    )


def wrong(name, factor):
    """The bounds with one of their constants wrong."""
    right = getattr(LazyBounds, name)

    def method(self, *arguments):
        return factor * right(self, *arguments)

    def faster(self, s):
        return right(self, factor * s)

    if name in ("threshold", "radius"):
        changed = property(lambda self: factor * right.fget(self))
    elif name == "corridor":
        changed = property(lambda self: tuple(factor * bound for bound in right.fget(self)))
    else:
        changed = faster if name.endswith("loss") else method
    return type("Wrong", (LazyBounds,), {name: changed})


CONSTANTS = ("threshold", "radius", "corridor", "loss", "displacement", "linear_loss", "linear_displacement")


def test_the_constants_follow_from_their_derivation():
    assert follow_from_their_derivation(BOUNDS)
    assert BOUNDS.threshold == pytest.approx(12 * math.sqrt(2) * 0.4 * 1.9 * math.sqrt(2.3) / 0.7**3)
    assert BOUNDS.displacement(1) == pytest.approx(3 * math.sqrt(8 * 1.9**2 * 2.3) / 0.7**2)  # as other notes print it


@pytest.mark.parametrize("name", CONSTANTS)
@pytest.mark.parametrize("factor", (0.5, 1 / math.sqrt(2), 2))
def test_a_wrong_constant_does_not(name, factor):
    assert not follow_from_their_derivation(wrong(name, factor)(**dataclasses.asdict(BOUNDS)))


def test_the_numbers_are_those_of_the_jacobian():
    net, x, y = instance(n=3)
    bounds = lazy_bounds(net, x, y)
    jacobian = torch.autograd.functional.jacobian(
        lambda w: 8**-0.5 * torch.tanh(x @ w.T) @ net.signs, net.weight.detach()
    ).flatten(1)
    values = torch.linalg.eigvalsh(jacobian @ jacobian.T).sqrt()
    assert (bounds.s_min, bounds.s_max) == pytest.approx((values[0].item(), values[-1].item()), rel=1e-8)
    assert bounds.initial_loss == pytest.approx(y.square().sum().item() / 2)
    assert bounds.beta == net.jacobian_lipschitz(x) and bounds.beta_source == "proved" and bounds.shape == (3, 24)


def test_above_the_threshold_all_is_proved_and_observed_and_at_it_the_theorem_says_nothing():
    net, x, y = instance()
    threshold = lazy_bounds(net, x, y).threshold
    above = certify(net.float(), x, y, 1.01 * threshold, **FAST)
    assert {check.verdict for check in above.checks.values()} == {"proved and observed"} and not above.unmet
    assert all(check.observed.shape == check.bound.shape == (3,) for check in above.checks.values())
    assert "all hypotheses met" in str(above) and str(above).count("proved and observed") == 7
    at = certify(net.double(), x, y, threshold, **FAST)
    assert [check.verdict for check in at.checks.values()] == ["observed only"] * 4 + ["proved and observed"] * 3
    assert "alpha <= alpha*" in str(at)


def test_far_below_the_threshold_bounds_are_violated_but_no_theorem():
    net, x, y = instance()
    far = certify(net, x, 5 * y, 2e-3 * lazy_bounds(net, x, y).threshold, **FAST)
    assert "violated" in {far.checks[name].verdict for name in ("loss", "smallest_singular_value")}
    assert not far.is_contradicted and far.checks["lipschitz"].verdict == "proved and observed"


def test_with_one_input_the_linear_bounds_are_equalities():
    certificate = certify(*instance(n=1, seed=1), 1e6, **FAST)
    torch.testing.assert_close(certificate.checks["linear_loss"].ratios, torch.ones(3).double(), rtol=1e-5, atol=0)
    assert certificate.checks["linear_displacement"].tightest == pytest.approx(1 / -math.expm1(-5), rel=1e-5)
    assert not certificate.is_contradicted


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("linear_loss", 1.01),  # the rate
        ("linear_displacement", 0.98),
        ("linear_displacement", 1 / math.sqrt(2)),  # of notes that drop it
        ("loss", 4.01),  # the theorem's own constants have these margins where J is constant and well conditioned
        ("displacement", 1 / 6.1),
        ("corridor", 2.01),
        ("corridor", 0.66),
    ],
)
def test_wrong_constants_are_seen_to_be_violated(monkeypatch, name, factor):
    monkeypatch.setattr(LazyBounds, name, getattr(wrong(name, factor), name))
    assert certify(*instance(n=1, seed=1), 1e6, **FAST).is_contradicted


def test_a_beta_that_is_too_small_is_contradicted():
    net, x = TwoLayerSmooth(1, 1, "sin").double(), torch.ones(1, 1, dtype=torch.float64)
    with torch.no_grad():
        net.weight.fill_(1.3)  # where |sin''| = 0.96
    y = -0.3 * net.signs[:, None]
    beta = net.jacobian_lipschitz(x)
    assert certify(net, x, y, 1.0, beta, **FAST).checks["lipschitz"].verdict == "proved and observed"
    assert certify(net, x, y, 1.0, beta / 2, **FAST).is_contradicted


def test_of_another_module_beta_is_estimated_and_nothing_but_the_linearization_is_proved():
    torch.manual_seed(0)
    net, x = lt.models.mlp(4, 1, 2, 3, 1, "tanh"), torch.randn(2, 3)
    certificate = certify(net, x, torch.tensor([0, 1]), 1e5, **FAST)
    assert certificate.alpha > certificate.threshold and certificate.bounds.initial_loss == 1
    assert [check.verdict for check in certificate.checks.values()] == ["observed only"] * 5 + [
        "proved and observed"
    ] * 2
    assert "(estimated)" in str(certificate) and certificate.unmet == ("beta is estimated, from below",)
    assert next(net.parameters()).dtype == torch.float32 and certificate.bounds.shape == (4, 26)


def test_nothing_is_lost_to_rounding_at_huge_alpha():
    certificate = certify(*instance(), 1e13, **FAST)
    assert {check.verdict for check in certificate.checks.values()} == {"proved and observed"}


def test_it_names_the_hypothesis_that_fails():
    net, x, y = instance()
    cases = [
        (
            (TwoLayerSmooth(2, 1).double(), x[:, :2].repeat(2, 1), y.repeat(2, 1)),
            "rank at most 2, but .* is rank n K = 4",
        ),
        ((net, x[[0, 0]], y), "rank below 2, .* none of them twice"),
        ((net, x, 0 * y), "targets y are 0"),
        ((lt.models.two_layer(8, 1, 3, 1), x, y), "is not smooth: it calls aten.relu"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            certify(*arguments, 1.0)
    with pytest.raises(ValueError, match="no Lipschitz constant"):
        certify(net, x, y, 1.0, beta=-1.0)
    with pytest.raises(ValueError, match="give a finite alpha"):
        certify(net, x, y, math.inf)
    with pytest.raises(TypeError, match="give the module that it wraps"):
        certify(lt.CenteredModel(net, 1.0), x, y, 1.0)
