"""The experiment rates: slopes of a smooth network, and wrong slopes that its claims do not pass."""

import math

import pytest

from lazytorch.experiments.rates import RATES, Rates
from lazytorch.runs import RunDirectory

SMALL = ["data.train_size=10", "data.test_size=10", "model.width=8", "steps=5", "trials=2", "alphas=[1e2,1e4,1e6]"]


def test_a_smooth_network_departs_at_the_rates_of_the_theory(lazytorch):
    code, out, err = lazytorch("experiment=rates", *SMALL)
    assert code == 0, err
    run = RunDirectory(out[-1])
    slopes = {(row["activation"], row["of"]): row for row in run.table("slopes")}
    for name, theory in RATES.items():
        assert slopes["tanh", name]["slope"] == pytest.approx(theory, abs=1e-3)
        assert run.summary[f"tanh_{name}_holds"] is True and f"relu_{name}_holds" not in run.summary
    relu = [row for row in run.table("distances") if row["activation"] == "relu" and row["flipped"] == 0]
    assert relu and all(0 < row["departure"] < row["displacement"] for row in relu)
    for row in run.table("distances"):  # |w - wbar| is of the order of |w - w_0|^2
        assert row["departure"] < 1e3 * row["displacement"] ** 2
    assert [claim["held"] for claim in run.summary["claims"]] == [True] * 3


def test_other_slopes_fail_the_claims():
    def rows(exponents):
        names = zip(RATES, exponents, strict=True)
        powers = {name: lambda alpha, power=power: alpha**power for name, power in names}
        return [
            {"trial": trial, "alpha": alpha, "flipped": math.nan}
            | {name: power(alpha) for name, power in powers.items()}
            for trial in range(5)
            for alpha in (1e2, 1e4, 1e6)
        ]

    def holds(exponents):
        found = Rates()._slopes(rows(exponents))
        return [abs(row["slope"] - row["theory"]) < 0.05 and row["low"] <= row["slope"] <= row["high"] for row in found]

    assert holds((-1, -2, -1)) == [True, True, True]
    assert holds((-2, -1, -0.9)) == [False, False, False]  # as if theta were reported in place of w


def test_infinite_alpha_is_the_linearization_itself(lazytorch):
    code, _, err = lazytorch("experiment=rates", "alphas=[1e2,inf]")
    assert code == 1 and "alphas are finite, inf is always trained" in err
