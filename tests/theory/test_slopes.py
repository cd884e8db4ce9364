"""Exponents of power laws and their intervals."""

import math

import pytest
from scipy import stats

from lazytorch.theory.slopes import log_slope, mean_slope


def test_the_slope_of_a_power_law_is_its_exponent():
    x = (1e2, 1e3, 1e6)
    assert log_slope(x, [3 * value**-1.7 for value in x]) == pytest.approx(-1.7)
    assert math.isnan(log_slope(x, [1, 0, 1])) and math.isnan(log_slope([2, 2], [1, 3]))


def test_the_interval_is_students():
    slopes = [-1.02, -0.99, -1.0, -0.97]
    found = mean_slope(slopes)
    low, high = stats.t.interval(0.95, 3, loc=-0.995, scale=stats.sem(slopes))
    assert found == pytest.approx((-0.995, low, high))
    assert found.is_within(0.05, -1) and not found.is_within(0.03, -1) and not found.is_within(0.05, -0.9)
    assert not mean_slope([-1.0]).is_within(0.05, -1)  # of one trial nothing is known
    assert not mean_slope([-1.0, math.nan]).is_within(0.05, -1)
