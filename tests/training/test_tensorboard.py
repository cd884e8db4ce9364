"""What TensorBoard gets of a run."""

import math
import re

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams.metadata import parse_session_start_info_plugin_data
from tensorboard.summary.writer import event_file_writer

from lazytorch.runs import RunDirectory
from lazytorch.training.tensorboard import TensorBoard, hyperparameters

from .problems import make


def events(path):
    (file,) = {file.parent for file in path.rglob("*tfevents*")}
    assert file == path / "tensorboard"  # directly in it: one run is one line
    return EventAccumulator(str(file), size_guidance={"scalars": 0}).Reload()


def test_every_number_of_the_metrics_is_there(tmp_path):
    make(run_dir=tmp_path).fit(2)
    board, rows = events(tmp_path), RunDirectory(tmp_path).metrics
    tags = {
        "accuracy/test": "test_accuracy",
        "loss/train": "train_loss",
        "laziness/displacement": "displacement",
        "laziness/ntk_drift": "ntk_drift",
        "laziness/activation_stability": "activation_stability",
        "optimisation/learning_rate": "learning_rate",
    }
    for tag, name in tags.items():
        assert [event.step for event in board.Scalars(tag)] == [0, 1, 2]
        assert [event.value for event in board.Scalars(tag)] == pytest.approx([row[name] for row in rows])
    layers = [event.value for event in board.Scalars("per_layer_displacement/2")]
    assert layers == pytest.approx([row["displacement_by_module"]["2"] for row in rows])
    assert board.Tags()["images"] == ["per_layer"]


def test_small_quantities_have_their_logarithm_under_tags_of_their_own(tmp_path):
    """0, at the start, has none."""
    make(alpha=1e7, run_dir=tmp_path).fit(2)
    board, rows = events(tmp_path), RunDirectory(tmp_path).metrics
    for name in ("displacement", "ntk_drift", "linearization_error"):
        shown = board.Scalars(f"laziness_log10/{name}")
        assert [event.step for event in shown] == [1, 2]
        assert [event.value for event in shown] == pytest.approx([math.log10(row[name]) for row in rows[1:]], rel=1e-5)
    assert not [tag for tag in board.Tags()["scalars"] if tag.startswith("accuracy_log10")]


def test_the_settings_are_a_row_of_the_hparams_page(tmp_path):
    """They do not say which columns there are: TensorBoard would take those of one run for all."""
    make(alpha=math.inf, run_dir=tmp_path, probes=["ntk"]).fit(1)
    board = events(tmp_path)
    assert {tag for tag in board.summary_metadata if tag.startswith("_hparams_")} == {
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
    }
    content = board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = parse_session_start_info_plugin_data(content).hparams
    assert settings["alpha"].string_value == "inf" and "alpha_log10" not in settings
    assert settings["settings.optimizer.lr"].number_value == 0.1 and settings["settings.loss"].string_value == "mse"
    assert settings["settings.compile"].string_value == "false"
    assert set(settings) - {"alpha", "seed"} == {name for name in settings if name.startswith("settings.")}


def test_settings_are_sorted_behind_alpha_and_seed():
    config = {"layout": 2, "_target_": "a.B", "alpha": 1e7, "seed": 3, "batch_size": 8, "name": "x", "root": None}
    config |= {"model": {"_target_": "m.Net", "hints": {"size": 32}}, "changed": {"seed": 3}, "probes": ["ntk"]}
    shown = hyperparameters(config)
    assert sorted(shown)[:3] == ["alpha", "alpha_log10", "seed"]
    assert shown == {
        "alpha": "1e7",
        "alpha_log10": pytest.approx(7),
        "seed": 3,
        "settings.batch_size": 8,
        "settings.model._target_": "m.Net",
        "settings.model.hints.size": 32,
    }


def test_custom_scalars_name_what_a_training_logs(tmp_path):
    make(run_dir=tmp_path).fit(1)
    board = events(tmp_path)
    layout = layout_pb2.Layout()  # pyright: ignore[reportAttributeAccessIssue]
    layout.ParseFromString(board.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["accuracy", "laziness", "optimisation"]
    for regex in (regex for category in layout.category for chart in category.chart for regex in chart.multiline.tag):
        assert [tag for tag in board.Tags()["scalars"] if re.match(regex, tag)] == [regex.removesuffix("$")]


def test_what_is_logged_within_a_second_is_read_in_its_order(tmp_path, monkeypatch):
    """Names of event files tell the second, and count in it without leading zeros."""
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(9))
    for epoch in range(3):
        with TensorBoard(tmp_path / "tensorboard", {}, epoch) as board:
            board.log({"epoch": epoch, "train_loss": 1.0})
    assert [event.step for event in events(tmp_path).Scalars("loss/train")] == [0, 1, 2]


def test_a_run_that_goes_on_is_one_curve(tmp_path):
    """What was logged after the last checkpoint is logged again, and shown once."""

    def failing(model):
        if trainer.epoch == 2:
            raise ZeroDivisionError
        return {}

    trainer = make(run_dir=tmp_path, probes=["displacement", failing])
    with pytest.raises(ZeroDivisionError):
        trainer.fit(3)
    trainer = make(run_dir=tmp_path, probes=["displacement"])
    assert trainer.resume() and trainer.epoch == 1
    trainer.fit(2)
    trainer.fit(3)
    assert [event.step for event in events(tmp_path).Scalars("accuracy/test")] == [0, 1, 2, 3]
