import math

import pytest
from matplotlib.patches import Rectangle

from lazytorch.reports import TRAINING, Figure, HeatMap, Panel, Report
from lazytorch.reports.figures import MAX_ROWS, draw

FIGURES = [item for item in TRAINING.items if isinstance(item, Figure)]
OFTEN = ("accuracy", "drift", "grid")  # the figures that are drawn of every sweep by default
GRID = Figure("grid", HeatMap("summary", "alpha", "lr", "test_accuracy"))


def cells(axes):
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def grid_of(train, alphas=(1.0, 10.0, math.inf), lrs=(0.1, 1.0), **options):
    for alpha in alphas:
        for lr in lrs:
            train(alpha, changed={"optimizer.lr": lr}, results={"test_accuracy": lr / 10}, **options)


def test_a_heat_map_has_a_cell_for_every_pair(train, only):
    grid_of(train)
    canvas, _ = draw(only(), GRID)
    axes, bar = canvas.axes
    assert sorted(texts(axes)) == ["1.0"] * 3 + ["10.0"] * 3 and len(cells(axes)) == 6
    corners = sorted({round(patch.get_x(), 2) for patch in cells(axes)})
    assert corners[1] - corners[0] == pytest.approx(1) and corners[2] - corners[1] > 1.2
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "10", r"$\infty$"]
    assert bar.get_ylabel() == "test accuracy (%)"


def test_cells_are_means_over_seeds(train, only):
    grid_of(train)
    for seed in (1, 2):
        train(1.0, seed, changed={"optimizer.lr": 0.1}, results={"test_accuracy": 0.01 + 0.3 * (seed - 0.5)})
    axes = draw(only(), GRID)[0].axes[0]
    assert f"{100 * (0.01 + 0.16 + 0.46) / 3:.1f}" in texts(axes)


def test_diverged_cells_are_hatched(train, only):
    grid_of(train)
    train(100.0, changed={"optimizer.lr": 1.0}, status="diverged")
    canvas, _ = draw(only(), GRID)
    hatched = [patch for patch in cells(canvas.axes[0]) if patch.get_hatch()]
    assert len(hatched) == 1 and hatched[0].get_x() == pytest.approx(1.5)
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == ["diverged"]


def test_a_contour_is_drawn_between_cells_that_differ_in_it(write, only):
    stable = {(0.1, 1.0): True, (0.1, 10.0): False, (1.0, 1.0): True, (1.0, 10.0): True}
    rows = [{"alpha": alpha, "rate": rate, "loss": rate, "stable": side} for (alpha, rate), side in stable.items()]
    for contour, expected in (
        ("", []),
        ("stable", [[(-0.5, 0.5), (0.5, 0.5)], [(0.5, 0.5), (0.5, 1.5)]]),  # above (0.1, 1) and right of (0.1, 10)
    ):
        figure = Figure("grid", HeatMap("losses", "alpha", "rate", "loss", contour=contour))
        write({"alpha": 1.0}, tables={"losses": rows}, report=Report(figure))
        (lines,) = draw(only(), figure)[0].axes[0].collections
        assert sorted([tuple(map(tuple, line.tolist())) for line in lines.get_segments()]) == [
            tuple(line) for line in expected
        ]


def test_of_many_values_the_powers_of_ten_are_written(write, only):
    rows = [{"alpha": 10 ** (k / 4), "rate": rate, "loss": 1.0} for k in range(-8, 9) for rate in (1.0, 2.0)]
    figure = Figure("grid", HeatMap("losses", "alpha", "rate", "loss"))
    write({"alpha": 1.0}, tables={"losses": rows}, report=Report(figure))
    axes = draw(only(), figure)[0].axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.01", "0.1", "1", "10", "100"]


@pytest.mark.parametrize("alphas, lrs", [((1.0, 10.0), (1.0,)), ((1.0,), (0.1, 1.0))])
def test_a_grid_of_one_row_is_left_out_with_the_reason(train, only, alphas, lrs):
    grid_of(train, alphas, lrs)
    canvas, (note,) = draw(only(), GRID)
    assert canvas is None and note == "No map of test accuracy: alpha and lr do not both vary."


def test_every_series_has_its_heat_map(train, only):
    grid_of(train)
    grid_of(lambda alpha, changed, **options: train(alpha, changed=changed | {"loss": "cross_entropy"}, **options))
    canvas, _ = draw(only(), GRID)
    assert [axes.get_title(loc="left") for axes in canvas.axes if axes.patches] == ["loss=cross_entropy", "loss=mse"]


def test_what_was_not_measured_is_not_drawn_and_the_reason_is_said(train, sweep, only):
    section = only()
    for run in section.runs:
        run.summary["not_measured"] = {"activation_stability": "no ReLU in this network"}
        for values in (run.summary, *run.metrics):
            values["activation_stability"] = values["kernel_distance"] = None
    panels = [Panel("summary", "alpha", name) for name in ("test_accuracy", "activation_stability")]
    canvas, notes = draw(section, Figure("accuracy", *panels))
    assert len(canvas.axes) == 1 and notes == ["No activation stability: no ReLU in this network."]
    canvas, notes = draw(section, Figure("drift", Panel("summary", "alpha", ("ntk_drift", "kernel_distance"))))
    assert not canvas.legends or not any("distance" in text.get_text() for text in canvas.legends[0].get_texts())
    assert notes == []


def test_a_figure_without_panels_is_none(write, only):
    write({"seed": 0}, report=Report())
    canvas, notes = draw(only(), Figure("one", Panel("nowhere", "x", "y"), Panel("summary", "alpha", "gap")))
    assert canvas is None
    assert notes == ["No y: not measured in any of these runs.", "No gap: not measured in any of these runs."]


def test_lines_told_by_a_column_have_a_row_for_every_series(train, only):
    for index in range(MAX_ROWS + 1):
        for alpha in (1.0, 10.0):
            for size in (64, 128):
                train(alpha, changed={"optimizer.lr": 1.0 + index, "batch_size": size})
    panels = [Panel("metrics", "epoch", name, by="alpha") for name in ("train_accuracy", "test_accuracy")]
    canvas, notes = draw(only(), Figure("curves", *panels))
    assert len(canvas.axes) == 2 * MAX_ROWS and notes == [f"The first {MAX_ROWS} of 10 series are shown."]
    titles = [axes.get_title(loc="left") for axes in canvas.axes[::2]]
    assert titles[:2] == ["lr=1, batch_size=64", "lr=1, batch_size=128"]
    assert all(len([line for line in axes.lines if line.get_gid() == "line"]) == 2 for axes in canvas.axes)


def test_a_row_without_the_quantity_says_so(train, only):
    for alpha in (1.0, 10.0):
        train(alpha)
        train(alpha, changed={"loss": "cross_entropy"}, results={"test_accuracy": None})
    panels = [Panel("metrics", "epoch", name, by="alpha") for name in ("train_accuracy", "test_accuracy")]
    canvas, _ = draw(only(), Figure("curves", *panels))
    (empty,) = [axes for axes in canvas.axes if not axes.axison]
    assert "No test accuracy" in empty.texts[0].get_text().replace("\n", "")


def test_a_legend_names_few_of_many(train, only):
    for k in range(30):
        train(10.0**k)
    canvas, _ = draw(only(), Figure("curves", Panel("metrics", "epoch", "test_accuracy", by="alpha")))
    (legend,) = canvas.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert len(names) == 10 and names[0] == "1" and names[-1] == "1e29" and "10 of 30" in legend.get_title().get_text()


def test_truncated_labels_of_series_stay_distinct(train, only):
    for letter in "xyz":
        name = "module." + "A" * 40 + letter + "B" * 40
        for alpha in (1.0, 10.0):
            train(alpha, changed={"model._target_": name})
    canvas, _ = draw(only(), FIGURES[0])
    names = [text.get_text() for text in canvas.legends[0].get_texts() if "…" in text.get_text()]
    assert len(names) == len(set(names)) == 3
    titles = [axes.get_title(loc="left") for axes in draw(only(), FIGURES[3])[0].axes]
    assert len({title for title in titles if title}) == 3


@pytest.mark.parametrize("label", [r"$\frac{1", "a_b $", "100 % & <b>", r"\alpha", "two\nlines", "\x07"])
def test_labels_are_shown_whatever_they_hold(write, only, tmp_path, label):
    report = Report(Figure("one", Panel("rows", "x", ("y", "z"), by="kind", title=label)))
    rows = [{"x": i, "y": i, "z": 1, "kind": kind} for i in (1, 2) for kind in (label, "other")]
    quantities = {name: {"label": label, "color": "no colour", "marker": "no mark"} for name in "xyz"}
    write({"seed": 0, "note": label}, tables={"rows": rows}, report=report, quantities=quantities)
    write({"seed": 0, "note": "$"}, tables={"rows": rows}, report=report, quantities=quantities)
    draw(only(), report.items[0])[0].savefig(tmp_path / "figure.png")


@pytest.mark.parametrize(
    "figure",
    [
        pytest.param(figure, id=figure.name, marks=() if figure.name in OFTEN else pytest.mark.slow)
        for figure in FIGURES
    ],
)
@pytest.mark.parametrize(
    "runs",
    [
        [(1.0, {})],
        [(math.inf, {})],
        [(1.0, {"status": None, "epochs": 0})],
        [(1.0, {"status": "diverged"}), (math.inf, {"status": "interrupted"})],
        [(1.0, {"results": dict.fromkeys(("train_accuracy", "train_loss", "displacement", "ntk_drift"))})],
        [(10.0**k, {}) for k in range(0, 31, 3)],
        [(1.0, {"changed": {"optimizer.lr": 0.1 * k}}) for k in range(1, 13)],
        [(1.0, {"changed": {"model._target_": "module." + letter * 80}}) for letter in "xyz"],
        [
            (1.0, {"results": dict.fromkeys(("train_accuracy", "train_loss", "displacement"), x)})
            for x in (1e308, -1e308)
        ],
        [(a, {"results": dict.fromkeys(("test_accuracy", "ntk_drift"), 5e-324)}) for a in (1e-100, 1e100)],
    ],
    ids=["one", "infinite", "none yet", "none finished", "null", "wide", "many", "long names", "huge", "tiny"],
)
def test_every_sweep_can_be_drawn(train, only, tmp_path, figure, runs):
    for seed, (alpha, options) in enumerate(runs):
        train(alpha, seed if "results" in options else 0, **options)
    canvas, notes = draw(only(), figure)
    if canvas is None:
        assert notes
    else:
        canvas.savefig(tmp_path / "figure.png", dpi=50)


@pytest.mark.parametrize("panels", [1, 2])
def test_legends_and_titles_are_within_the_figure(train, only, tmp_path, panels):
    for letter in "xyz":
        for alpha in (1.0, 10.0):
            for lr in (0.1, 1.0):
                name = "module." + "A" * 40 + letter + "B" * 40
                train(alpha, changed={"model._target_": name, "optimizer.lr": lr})
    shown = [Panel("summary", "alpha", ("train_accuracy", "test_accuracy"))] * panels
    for figure in (Figure("accuracy", *shown), GRID):
        canvas, _ = draw(only(), figure)
        canvas.savefig(tmp_path / "figure.png")
        edge = canvas.bbox
        boxes = [legend.get_window_extent() for legend in canvas.legends]
        titles = [axes._left_title.get_window_extent() for axes in canvas.axes if axes.get_title(loc="left")]
        assert all(edge.x0 <= box.x0 and box.x1 <= edge.x1 and edge.y0 <= box.y0 for box in boxes + titles)
        assert not any(a.overlaps(b) for i, a in enumerate(titles) for b in titles[:i])
