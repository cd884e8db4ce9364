import math

import pytest
from matplotlib.figure import Figure

from lazytorch.reports.axis import Axis


def dress(values, log=False):
    axes = Figure().subplots()
    axis = Axis(values, log)
    axis.dress(axes)
    return axis, axes


def ticks(axes):
    return dict(zip((text.get_text() for text in axes.get_xticklabels()), axes.get_xticks(), strict=True))


def breaks(axes):
    return [line for line in axes.lines if line.get_gid() == "break"]


def test_infinity_is_a_decade_and_a_half_right_of_the_largest_decade_behind_a_break():
    axis, axes = dress([0.5, 2e6, math.inf], log=True)
    assert math.log10(axis.place(math.inf)) == pytest.approx(7 + 1.5) and axis.place(0.5) == 0.5
    assert ticks(axes)[r"$\infty$"] == axis.place(math.inf) and axis.place(math.inf) < axes.get_xlim()[1]
    (gap, strokes) = breaks(axes)
    low, high = map(math.log10, axes.get_xlim())
    assert 7 < low + gap.get_xdata()[0] * (high - low) < 8.5 and len(strokes.get_xdata()) == 2


def test_zero_is_left_of_a_break_on_a_logarithmic_axis():
    axis, axes = dress([0.0, 1e-3, 1e-1], log=True)
    assert math.log10(axis.place(0.0)) == pytest.approx(-4.5)
    assert ticks(axes)["0"] == axis.place(0.0) > axes.get_xlim()[0] and len(breaks(axes)) == 2


def test_infinity_on_a_linear_axis():
    axis, axes = dress([1, 2, 11, math.inf])
    assert axis.place(math.inf) == pytest.approx(13) and axis.place(2) == 2
    assert len(breaks(axes)) == 2 and axes.get_xlim()[0] < 1 and axes.get_xlim()[1] > 13
    assert max(place for text, place in ticks(axes).items() if "infty" not in text) < 12


def test_no_break_without_infinity():
    for values, log in (([1, 2, 3], False), ([1, 10], True), ([math.inf], True)):
        assert not breaks(dress(values, log)[1])


def test_few_values_that_are_no_decades_are_ticks_themselves():
    assert list(ticks(dress([0.25, 0.5, 1, 2], log=True)[1])) == ["0.25", "0.5", "1", "2"]
    assert list(ticks(dress([1, 10, 100], log=True)[1])) == ["$10^{0}$", "$10^{1}$", "$10^{2}$"]


def test_ticks_that_would_touch_are_decades():
    assert list(ticks(dress([1, 1.1, 300], log=True)[1])) == ["$10^{0}$", "$10^{1}$", "$10^{2}$", "$10^{3}$"]


def test_wide_axes_have_few_ticks():
    assert len(ticks(dress([10.0**k for k in range(-30, 31)], log=True)[1])) <= 10


def test_a_dense_axis_ends_with_its_values():
    _, axes = dress([float(k) for k in range(1, 201)], log=True)
    assert axes.get_xlim()[1] < 300


def test_words_are_side_by_side():
    axis, axes = dress(["a$b", "c"])
    assert [axis.place("a$b"), axis.place("c")] == [0, 1]
    assert [text.get_text() for text in axes.get_xticklabels()] == [r"a\$b", "c"]


def test_negative_values_have_a_linear_axis():
    _, axes = dress([-1.0, 1.0], log=True)
    assert axes.get_xscale() == "linear"


@pytest.mark.parametrize("values", [[], [0.0], [math.inf], [5.0], [1e-300, 1e300], [-math.inf, 1.0], ["one"]])
@pytest.mark.parametrize("log", [True, False])
def test_every_axis_can_be_dressed(values, log):
    _, axes = dress(values, log)
    assert all(map(math.isfinite, axes.get_xlim()))
