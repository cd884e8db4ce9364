"""Durations in words."""

import pytest

from lazytorch.durations import spell_seconds


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.00123, "0.0012 s"),
        (8.2, "8.2 s"),
        (72, "72 s"),
        (89, "89 s"),
        (90, "2 min"),
        (3300, "55 min"),
        (5399, "90 min"),
        (5400, "1.5 h"),
        (86400, "24.0 h"),
        (10 * 86400, "10.0 days"),
    ],
)
def test_two_or_three_digits_of_the_fitting_unit(seconds, words):
    assert spell_seconds(seconds) == words
