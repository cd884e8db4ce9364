"""What TensorBoard gets of a run."""

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lazytorch.runs import RunDirectory

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
    layers = [event.value for event in board.Scalars("displacement_by_module/2")]
    assert layers == pytest.approx([row["displacement_by_module"]["2"] for row in rows])
    assert "layers" in board.Tags()["images"]


def test_small_quantities_have_their_logarithm_under_tags_of_their_own(tmp_path):
    """0, at the start, has none."""
    make(alpha=1e7, run_dir=tmp_path).fit(2)
    board, rows = events(tmp_path), RunDirectory(tmp_path).metrics
    for name in ("displacement", "ntk_drift", "linearization_error"):
        shown = board.Scalars(f"laziness_log10/{name}")
        assert [event.step for event in shown] == [1, 2]
        assert [event.value for event in shown] == pytest.approx([math.log10(row[name]) for row in rows[1:]], rel=1e-5)
    assert not [tag for tag in board.Tags()["scalars"] if tag.startswith("accuracy_log10")]


def hparams(board, name):
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData()
    data.ParseFromString(board.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)
    return data


def test_the_settings_are_a_row_of_the_hparams_page(tmp_path):
    make(alpha=math.inf, run_dir=tmp_path, probes=["ntk"]).fit(1)
    board = events(tmp_path)
    settings = hparams(board, "session_start_info").session_start_info.hparams
    assert settings["alpha"].string_value == "inf" and settings["lr"].number_value == 0.1
    assert settings["loss"].string_value == "mse"
    metrics = {info.name.tag for info in hparams(board, "experiment").experiment.metric_infos}
    assert {"accuracy/test", "loss/train", "laziness/ntk_drift"} <= metrics <= set(board.Tags()["scalars"])


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
