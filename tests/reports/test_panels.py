import math

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lazytorch.quantities import GREY
from lazytorch.reports import Figure, Panel, Report
from lazytorch.reports.figures import draw
from lazytorch.reports.panels import common, extent


def axes_of(section, *panels):
    canvas, notes = draw(section, Figure("figure", *panels))
    assert canvas is not None, notes
    return [axes for axes in canvas.axes if axes.axison]


def lines(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def points(axes, column):
    """The marked points of each line of `column`."""
    return [np.array(line.get_xydata()) for line in lines(axes, "data") if line.get_label().startswith(f"{column}|")]


def entries(canvas):
    return [text.get_text() for legend in canvas.legends for text in legend.get_texts()]


def rates(write, rows, panel):
    """One run with `rows` in the table of `panel`."""
    report = Report(Figure("rates", panel))
    return write({"seed": 0}, base={"_target_": "a.Rates"}, report=report, tables={panel.table: rows})


def test_points_are_the_means_over_seeds_in_percent(sweep, only):
    section = only()
    (axes,) = axes_of(section, Panel("summary", "alpha", ("train_accuracy", "test_accuracy")))
    for column in ("train_accuracy", "test_accuracy"):
        (found,) = points(axes, column)
        expected = [np.mean([100 * run.summary[column] for run in group.runs]) for group in section.groups]
        np.testing.assert_allclose(found[:, 1], expected)
        assert list(found[:3, 0]) == [1, 10, 1000] and found[3, 0] == pytest.approx(10**4.5)


def test_the_error_bar_is_the_sample_deviation(sweep, only):
    (axes,) = axes_of(only(), Panel("summary", "alpha", "train_accuracy"))
    (bars,) = axes.containers[0].lines[2]
    assert np.ptp(bars.get_segments()[0][:, 1]) / 2 == pytest.approx(100 * np.std([0, 0.01, 0.02], ddof=1))


def test_on_a_logarithmic_axis_the_bar_goes_from_least_to_greatest(sweep, only):
    (axes,) = axes_of(only(), Panel("summary", "alpha", "displacement"))
    (bars,) = axes.containers[0].lines[2]
    np.testing.assert_allclose(bars.get_segments()[0][:, 1], [0.3, 0.3 * 1.2])
    assert extent([1.0, 3.0, 5.0]) == (2.0, 2.0)


def test_one_run_has_no_spread(train, only):
    train(1.0)
    canvas, _ = draw(only(), Figure("figure", Panel("summary", "alpha", ("train_accuracy", "test_accuracy"))))
    assert not canvas.axes[0].containers
    assert canvas.legends[0].get_title().get_text() == "n = 1"


@pytest.mark.parametrize("slope", [-1, -2, 0.5])
def test_a_guide_has_its_slope(write, only, slope):
    panel = Panel("rates", "alpha", "gap", guides=(slope,))
    rates(write, [{"alpha": 10.0**k, "gap": 10.0**-k} for k in range(4)], panel)
    (axes,) = axes_of(only(), panel)
    (guide,) = lines(axes, "guide")
    (a, b), (c, d) = guide.get_xydata()
    assert math.log(d / b) / math.log(c / a) == pytest.approx(slope) and guide.get_color() == GREY
    assert axes.get_xscale() == axes.get_yscale() == "log" and guide.get_linestyle() == "--"


def test_each_guide_is_over_the_line_of_its_slope(write, only):
    panel = Panel("rates", "alpha", ("one", "two"), guides=(-2, -1))
    rates(write, [{"alpha": 10.0**k, "one": 10.0**-k, "two": 1e-3 * 100.0**-k} for k in range(5)], panel)
    canvas, _ = draw(only(), Figure("figure", panel))
    two, one = lines(canvas.axes[0], "guide")
    assert two.get_ydata()[-1] == pytest.approx(3e-3 * 100.0**-4) and one.get_ydata()[-1] == pytest.approx(3e-4)
    assert r"$1/\alpha$" in entries(canvas) and r"$\alpha^{-2}$" in entries(canvas)


def test_a_bound_is_dashed_without_marks_and_named(write, only):
    panel = Panel("rates", "alpha", "displacement", bounds="ceiling")
    rates(write, [{"alpha": 10.0**k, "displacement": 10.0**-k, "ceiling": 7 * 10.0**-k} for k in range(3)], panel)
    canvas, _ = draw(only(), Figure("figure", panel))
    (bound,) = lines(canvas.axes[0], "bound")
    assert bound.get_linestyle() == "--" and bound.get_marker() == ""
    assert list(bound.get_ydata()) == pytest.approx([7, 0.7, 0.07])
    assert "ceiling (bound)" in entries(canvas)


def test_marks_are_points_in_the_colour_of_their_theory(write, only):
    panel = Panel("curves", "step", ("a_predicted", "b_predicted"), marks=("a", "b"))
    rows = [{"step": i, "a_predicted": i, "b_predicted": 2 * i, "a": i + 0.1, "b": 2 * i + 0.1} for i in range(101)]
    rates(write, rows, panel)
    (axes,) = axes_of(only(), panel)
    for mark, theory in (("a", "a_predicted"), ("b", "b_predicted")):
        (marked,) = [line for line in lines(axes, "data") if line.get_label().startswith(f"{mark}|")]
        (drawn,) = [line for line in lines(axes, "data") if line.get_label().startswith(f"{theory}|")]
        assert marked.get_linestyle() == "None" and marked.get_marker() not in ("", "None")
        assert marked.get_color() == drawn.get_color() and len(marked.get_xdata()) <= 20
        assert drawn.get_marker() == ""
    colors = {line.get_color() for line in lines(axes, "line")}
    assert len(colors) == 2 == len(lines(axes, "line"))


def test_quantities_of_one_panel_look_different(write, only):
    names = tuple("abcdef")
    panel = Panel("rates", "alpha", names)
    rates(write, [{"alpha": k} | {name: k + i for i, name in enumerate(names)} for k in range(3)], panel)
    (axes,) = axes_of(only(), panel)
    assert len({line.get_color() for line in lines(axes, "data")}) == 6
    assert len({line.get_marker() for line in lines(axes, "data")}) == 6


def test_zeros_and_rounding_are_hollow_on_the_floor(sweep, only):
    left, right = axes_of(only(), Panel("summary", "alpha", "displacement"), Panel("summary", "alpha", "ntk_drift"))
    for axes, column in ((left, "displacement"), (right, "ntk_drift")):
        (floor,) = lines(axes, "floor")
        assert floor.get_markerfacecolor() == "white" and list(floor.get_ydata()) == [0]
        assert floor.get_transform() == axes.get_xaxis_transform()
        assert floor.get_xdata()[0] == pytest.approx(10**4.5)
        (found,) = points(axes, column)
        assert len(found) == 3 and found[:, 1].min() > axes.get_ylim()[0] > 0


def test_an_infinite_value_is_on_the_upper_edge(write, only):
    panel = Panel("rates", "alpha", "gap", guides=(-1,))
    rates(write, [{"alpha": 1.0, "gap": math.inf}, {"alpha": 10.0, "gap": 0.1}], panel)
    canvas, _ = draw(only(), Figure("figure", panel))
    (beyond,) = lines(canvas.axes[0], "beyond")
    assert list(beyond.get_xdata()) == [1.0] and list(beyond.get_ydata()) == [1]
    assert "infinite" in entries(canvas)


def test_diverged_runs_are_crosses_on_the_axis(train, sweep, only):
    panels = (Panel("summary", "alpha", "test_accuracy"), Panel("summary", "alpha", "displacement"))
    assert "diverged" not in entries(draw(only(), Figure("figure", *panels))[0])
    train(0.1, status="diverged")
    canvas, _ = draw(only(), Figure("figure", *panels))
    assert "diverged" in entries(canvas)
    for axes in canvas.axes:
        (cross,) = lines(axes, "diverged")
        assert cross.get_marker() == "x" and list(cross.get_xdata()) == [0.1] and list(cross.get_ydata()) == [0]


def test_rows_that_diverged_are_crosses_too(write, only):
    panel = Panel("rates", "alpha", "gap")
    rows = [{"alpha": 1.0, "gap": 1.0, "status": "finished"}, {"alpha": 10.0, "gap": 1e30, "status": "diverged"}]
    rates(write, rows, panel)
    (axes,) = axes_of(only(), panel)
    assert [list(line.get_xdata()) for line in lines(axes, "diverged")] == [[10.0]]
    assert points(axes, "gap")[0].tolist() == [[1.0, 1.0]]


def test_values_of_by_are_lines_coloured_by_rank(train, only):
    """1 and 10 are as far apart in colour as 10 and 1e7; infinity is last and dashed."""
    alphas = (1.0, 10.0, 1e7, math.inf)
    for alpha in alphas:
        train(alpha)
    canvas, _ = draw(only(), Figure("figure", Panel("metrics", "epoch", "test_accuracy", by="alpha")))
    found = {line.get_label().rpartition("|")[2]: line for line in lines(canvas.axes[0], "data")}
    colors = [np.array([int(to_hex(found[key].get_color())[i : i + 2], 16) for i in (1, 3, 5)]) for key in found]
    assert list(found) == ["1", "10", "1e7", "∞"] == entries(canvas)
    assert all(np.abs(a - b).sum() > 60 for i, a in enumerate(colors) for b in colors[:i])
    assert [line.get_linestyle() for line in lines(canvas.axes[0], "line")] == ["-", "-", "-", "--"]


def test_curves_of_seeds_are_one_line_and_unfinished_runs_are_dotted_on_their_own(train, sweep, only):
    train(1.0, seed=3, status=None, epochs=2)
    canvas, _ = draw(only(), Figure("figure", Panel("metrics", "epoch", "test_accuracy", by="alpha")))
    (axes,) = canvas.axes
    assert len(lines(axes, "line")) == 5 and "not finished" in entries(canvas)
    dotted = [line for line in lines(axes, "line") if line.get_linestyle() == ":"]
    assert [list(line.get_xdata()) for line in dotted] == [[0, 1, 2]]


def test_a_diverged_loss_does_not_set_the_scale(train, sweep, only):
    train(0.1, status="diverged", results={"train_loss": 1e30})
    (axes,) = axes_of(only(), Panel("metrics", "epoch", "train_loss", by="alpha"))
    assert axes.get_ylim()[1] < 100
    assert max(line.get_ydata().max() for line in lines(axes, "line")) > 1e29


def test_another_setting_that_varies_is_the_axis_where_x_does_not(train, only):
    for lr in (0.03, 0.1, 0.3):
        for seed in (0, 1):
            train(10.0, seed, changed={"optimizer.lr": lr}, results={"displacement": lr})
    panels = (
        Panel("summary", "alpha", "displacement", guides=(-1,)),
        Panel("metrics", "epoch", "test_accuracy", by="alpha"),
    )
    summary, curves = axes_of(only(), *panels)
    (found,) = points(summary, "displacement")
    np.testing.assert_allclose(found, [[0.03, 0.03], [0.1, 0.1], [0.3, 0.3]])
    assert "learning rate" in summary.get_xlabel() and not lines(summary, "guide")
    assert [line.get_label().rpartition("|")[2] for line in lines(curves, "data")] == ["0.03", "0.1", "0.3"]


def test_series_have_a_colour_each_and_quantities_a_mark(train, only):
    for lr in (0.1, 1.0):
        for alpha in (1.0, 10.0):
            train(alpha, changed={"optimizer.lr": lr})
    canvas, _ = draw(only(), Figure("figure", Panel("summary", "alpha", ("train_accuracy", "test_accuracy"))))
    drawn = {tuple(line.get_label().split("|")[:2]): line for line in lines(canvas.axes[0], "data")}
    assert len({drawn["train_accuracy", name].get_color() for name in ("lr=0.1", "lr=1")}) == 2
    assert drawn["train_accuracy", "lr=1"].get_color() == drawn["test_accuracy", "lr=1"].get_color()
    assert drawn["train_accuracy", "lr=1"].get_marker() != drawn["test_accuracy", "lr=1"].get_marker()
    assert entries(canvas) == ["lr=0.1", "lr=1", "train accuracy", "test accuracy"]


def test_alpha_that_a_panel_does_not_show_tells_series_apart(train, only):
    """Runs at several scales are not averaged."""
    for alpha in (1.0, 10.0):
        train(alpha)
    (axes,) = axes_of(only(), Panel("metrics", "epoch", "test_accuracy"))
    assert [line.get_label().split("|")[1] for line in lines(axes, "data")] == ["alpha=1", "alpha=10"]


def test_rows_are_kept_where_they_are_asked_for(write, only):
    panel = Panel("rates", "alpha", "gap", where={"kind": "a", "alpha": math.inf})
    rows = [{"alpha": a, "kind": kind, "gap": 1.0} for a in (1.0, math.inf) for kind in "ab"]
    rates(write, rows, panel)
    assert [len(found) for found in points(axes_of(only(), panel)[0], "gap")] == [1]


def test_a_trajectory_keeps_the_order_of_its_rows(write, only):
    panel = Panel("plane", "a", "b", by="neuron", trajectory=True)
    turn = [(math.cos(t), math.sin(t)) for t in np.linspace(0, 6, 30)]
    rates(write, [{"neuron": k, "a": (k + 1) * a, "b": b} for k in range(2) for a, b in turn], panel)
    (axes,) = axes_of(only(), panel)
    drawn = lines(axes, "line")
    assert len(drawn) == 2
    np.testing.assert_allclose(drawn[1].get_xydata(), [(2 * a, b) for a, b in turn])


def test_trials_within_a_table_are_a_mean(write, only):
    panel = Panel("trials", "tau", "gap")
    rates(write, [{"tau": tau, "trial": i, "gap": tau + i} for tau in (1, 2) for i in range(3)], panel)
    canvas, _ = draw(only(), Figure("figure", panel))
    assert points(canvas.axes[0], "gap")[0].tolist() == [[1, 2], [2, 3]]
    assert canvas.get_supxlabel() == "mean ± standard deviation, n = 3"


def test_layers_are_lines(write, only):
    metrics = [{"epoch": e, "displacement_by_module": {"a": 0.1, "": None, "b.c": 0.2}} for e in (0, 1)]
    write({"seed": 0}, metrics=metrics, report=Report())
    canvas, _ = draw(only(), Figure("figure", Panel("metrics", "epoch", "displacement_by_module")))
    assert len(lines(canvas.axes[0], "line")) == 2 and entries(canvas) == ["a", "b.c"]


def test_words_are_places(write, only):
    panel = Panel("rows", "method", "test_accuracy")
    rates(write, [{"method": m, "test_accuracy": v} for m, v in (("b_1", 0.5), ("a$", 0.25))], panel)
    (axes,) = axes_of(only(), panel)
    assert points(axes, "test_accuracy")[0].tolist() == [[0, 25], [1, 50]] and not lines(axes, "line")
    assert [text.get_text() for text in axes.get_xticklabels()] == [r"a\$", "b_1"]


def test_scales_can_be_given(write, only):
    panel = Panel("rates", "alpha", "displacement", xscale="linear", yscale="linear")
    rates(write, [{"alpha": 1.0, "displacement": 0.0}, {"alpha": 2.0, "displacement": 1.0}], panel)
    (axes,) = axes_of(only(), panel)
    assert axes.get_xscale() == axes.get_yscale() == "linear" and not lines(axes, "floor")
    assert points(axes, "displacement")[0].tolist() == [[1, 0], [2, 1]]


def test_common_words():
    assert common(["train accuracy", "test accuracy"]) == "accuracy"
    assert common(["training loss", "test loss predicted"]) == "loss"
    assert common(["displacement", "gap"]) == "" == common([])


@pytest.mark.parametrize("shares", [(0.5, 0.9), (0.0, 1.0), (1.08, 1.18), (-0.3, 0.2)])
def test_every_share_is_within_its_axis(write, only, shares):
    panel = Panel("rates", "step", "test_accuracy")
    rates(write, [{"step": index, "test_accuracy": share} for index, share in enumerate(shares)], panel)
    (axes,) = axes_of(only(), panel)
    bottom, top = axes.get_ylim()
    assert bottom <= 100 * min(shares) < 100 * max(shares) <= top
    assert (bottom >= -2 and top <= 102) or min(shares) < 0 or max(shares) > 1
