import math

import numpy as np
import pytest

from lazytorch.reports import read_sweep
from lazytorch.reports.accuracy import accuracy_figure
from lazytorch.reports.alpha_axis import AlphaAxis
from lazytorch.reports.curves import curves_figure
from lazytorch.reports.drift import GUIDE, drift_figure

FIGURES = [accuracy_figure, drift_figure, curves_figure]


def drawn(axes):
    """The marked points of each quantity that are not on the floor."""
    lines = [line for line in axes.lines if line.get_gid() == "data" and line.get_markerfacecolor() != "white"]
    return [np.array(line.get_xydata()) for line in lines]


def on_floor(axes):
    return [line for line in axes.lines if line.get_gid() == "data" and line.get_markerfacecolor() == "white"]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_infinity_is_right_of_every_alpha():
    axis = AlphaAxis([0.5, 1e7, math.inf])
    assert axis.position(math.inf) > 10 * axis.position(1e7) and axis.position(0.5) == 0.5


def test_accuracies_are_the_means_over_seeds_in_percent(sweep):
    read = read_sweep([sweep])
    left, right = accuracy_figure(read).axes
    train, test = drawn(left)
    (stability,) = drawn(right)
    for column, key in ((train, "train_accuracy"), (test, "test_accuracy"), (stability, "activation_stability")):
        expected = [np.mean([100 * member.summary[key] for member in cell.members]) for cell in read.cells]
        np.testing.assert_allclose(column[:, 1], expected)
    assert list(train[:3, 0]) == [1, 10, 1000] and train[3, 0] > 1000


def test_the_error_bar_is_the_sample_deviation(sweep):
    left = accuracy_figure(read_sweep([sweep])).axes[0]
    (bars,) = left.containers[0].lines[2]
    assert np.ptp(bars.get_segments()[0][:, 1]) / 2 == pytest.approx(100 * np.std([0, 0.01, 0.02], ddof=1))


def test_the_guide_falls_as_one_over_alpha(sweep):
    for axes in drift_figure(read_sweep([sweep])).axes:
        (guide,) = [line for line in axes.lines if line.get_color() == GUIDE["color"]]
        (a, b), (c, d) = guide.get_xydata()
        assert math.log(d / b) / math.log(c / a) == pytest.approx(-1)


def test_zeros_and_rounding_are_hollow_on_the_floor(sweep):
    left, right = drift_figure(read_sweep([sweep])).axes
    assert [len(line.get_xdata()) for line in on_floor(left)] == [1]
    assert [len(line.get_xdata()) for line in on_floor(right)] == [1, 1]
    for axes in (left, right):
        assert all(points[:, 1].min() > axes.get_ylim()[0] > 0 for points in drawn(axes))
        assert all((points[:, 0] <= 1000).all() for points in drawn(axes))


def test_diverged_runs_are_crosses_in_both_figures(train, sweep):
    assert "diverged" not in legend(accuracy_figure(read_sweep([sweep])))
    train(0.1, status="diverged")
    for figure in (accuracy_figure(read_sweep([sweep])), drift_figure(read_sweep([sweep]))):
        assert "diverged" in legend(figure)
        for axes in figure.axes:
            assert [list(line.get_xdata()) for line in axes.lines if line.get_marker() == "x"] == [[0.1]]


def test_what_was_not_measured_is_not_in_the_legend(train, tmp_path):
    train(1.0, results={"kernel_distance": None})
    assert not any("distance" in text for text in legend(drift_figure(read_sweep([tmp_path]))))


def test_curves_are_one_line_a_run_and_dashed_if_unfinished(train, sweep):
    train(1.0, seed=3, status=None, epochs=2)
    figure = curves_figure(read_sweep([sweep]))
    assert legend(figure) == ["1", "10", "1e3", "∞"]
    for axes in figure.axes:
        assert len(axes.lines) == 13
        assert [len(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "--"] == [3]


def test_a_diverged_loss_does_not_set_the_scale(train, sweep):
    train(0.1, status="diverged", results={"train_loss": 1e30})
    assert curves_figure(read_sweep([sweep])).axes[2].get_ylim()[1] < 100


@pytest.mark.parametrize("figure", FIGURES)
@pytest.mark.parametrize(
    "runs",
    [
        [(1.0, {})],
        [(math.inf, {})],
        [(1.0, {"status": None, "epochs": 0})],
        [(1.0, {"status": "diverged"}), (math.inf, {"status": "interrupted"})],
        [(1.0, {"results": dict.fromkeys(("train_accuracy", "train_loss", "displacement", "ntk_drift"))})],
        [(10.0**k, {}) for k in range(0, 31, 3)],
        [(1.0, {"optimizer.lr": 0.1 * k}) for k in range(1, 13)],
        [(1.0, {"model._target_": "module." + letter * 80}) for letter in "xyz"],
    ],
    ids=["one", "infinite", "none yet", "none finished", "null", "wide", "many series", "long names"],
)
def test_every_sweep_can_be_drawn(train, tmp_path, figure, runs):
    for alpha, options in runs:
        train(alpha, **options)
    figure(read_sweep([tmp_path])).savefig(tmp_path / "figure.png")
