"""The report in TensorBoard: figures, and curves over alpha."""

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lazytorch.reports import Figure, Panel, Report, write_report

from .conftest import result

REPORT = Report(Figure("moves", Panel("summary", "alpha", ("test_accuracy", "displacement"))))


def curve(folder, tag):
    return {event.step: event.value for event in EventAccumulator(str(folder)).Reload().Scalars(tag)}


def test_means_over_seeds_are_at_hundred_log10_alpha(write, tmp_path):
    alphas = {-100: 0.1, 0: 1.0, 248: 300.0, 450: math.inf}  # infinity 1.5 decades right of 10^3
    for seed in (0, 1, 2):
        for alpha in alphas.values():
            write({"alpha": alpha, "seed": seed}, result(alpha, seed), report=REPORT)
    board = write_report([tmp_path / "runs"], tmp_path / "out", tensorboard=True) / "tensorboard"
    for name in ("test_accuracy", "displacement"):
        means = {step: sum(result(alpha, seed)[name] for seed in (0, 1, 2)) / 3 for step, alpha in alphas.items()}
        assert curve(board / "over_alpha", f"over_alpha/{name}") == pytest.approx(means)
    logs = {step: math.log10(mean) for step, mean in means.items() if mean}  # of the displacement, 0 at infinity
    assert curve(board / "over_alpha", "over_alpha_log10/displacement") == pytest.approx(logs) and len(logs) == 3
    tags = EventAccumulator(str(board / "over_alpha")).Reload().Tags()
    assert "over_alpha_log10/test_accuracy" not in tags["scalars"] and "custom_scalars__config__" in tags["tensors"]
    (image,) = EventAccumulator(str(board / "figures")).Reload().Images("overview/moves")
    assert 600 < image.width <= 960


def test_every_series_is_a_curve_and_a_former_report_is_forgotten(write, tmp_path):
    for lr in (0.1, 1.0):
        write({"alpha": 10.0, "seed": 0, "optimizer.lr": lr}, result(10.0, 0), report=REPORT)
        write({"alpha": 1.0, "seed": 0, "optimizer.lr": lr}, result(1.0, 0), report=REPORT)
    out = tmp_path / "out"
    kept = out / "tensorboard" / "events.out.tfevents.0.mine"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"mine")
    for emptied in (0, 3, 3):
        board = write_report([tmp_path / "runs"], out, tensorboard=True) / "tensorboard"
        files = [path for path in board.rglob("*.report")]
        assert len(files) == 3 + emptied and sum(path.stat().st_size == 0 for path in files) == emptied
    for series in ("0 lr=0.1", "1 lr=1"):
        assert list(curve(board / "over_alpha" / series, "over_alpha/test_accuracy")) == [0, 100]
    assert kept.read_bytes() == b"mine"


def test_a_report_without_a_curve_over_alpha_has_its_figures(write, tmp_path):
    report = Report(Figure("curves", Panel("metrics", "epoch", "train_accuracy")))
    metrics = [{"epoch": epoch, "train_accuracy": 0.5} for epoch in (0, 1)]
    write({"alpha": 1.0, "seed": 0}, result(1.0, 0), metrics=metrics, report=report)
    board = write_report([tmp_path / "runs"], tmp_path / "out", tensorboard=True) / "tensorboard"
    assert [path.name for path in board.iterdir()] == ["figures"]
    assert EventAccumulator(str(board / "figures")).Reload().Tags()["images"] == ["overview/curves"]
