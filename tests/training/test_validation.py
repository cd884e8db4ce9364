"""Examples that are held out, and training that ends by the accuracy on them."""

import pytest
import torch

import lazytorch as lt
from lazytorch.experiments import Data, Training, perform
from lazytorch.experiments.training import Optimizer, Stopping
from lazytorch.training.settings import Settings
from lazytorch.training.state import load_checkpoint

from .problems import TEST, TEST_IMAGES, assert_same, make, make_convolutional, without_times

MLP = {"_target_": "lazytorch.models.mlp", "width": 8}


def rows(*accuracies):
    return [{"validation_accuracy": accuracy} for accuracy in accuracies]


@pytest.mark.parametrize(
    ("patience", "tolerance", "accuracies", "settled"),
    [
        (2, 0.0, (0.1, 0.2, 0.2), False),
        (2, 0.0, (0.1, 0.2, 0.2, 0.1), True),
        (2, 0.0, (0.1, 0.2, 0.2, 0.3), False),
        (2, 0.05, (0.1, 0.2, 0.24, 0.25), True),  # slow progress adds up to more than the tolerance only at 0.26
        (2, 0.05, (0.1, 0.2, 0.24, 0.26), False),
        (1, 0.0, (0.1,), False),
        (0, 0.0, (0.1,) * 9, False),
    ],
)
def test_settles_after_patience_without_a_better_accuracy(patience, tolerance, accuracies, settled):
    assert Settings(patience=patience, tolerance=tolerance).has_settled(rows(*accuracies)) == settled


def test_training_stops_where_it_has_settled_and_stays_there(tmp_path):
    trainer = make(run_dir=tmp_path / "run", validation=TEST, patience=2, tolerance=0.02)
    summary = trainer.fit(50)
    assert summary["status"] == "finished" and summary["has_settled"] and summary["epochs"] < 50
    found = trainer.member.state.rows
    rule = trainer.member.settings.has_settled
    assert rule(found) and not any(rule(found[:n]) for n in range(len(found)))
    assert [row["validation_accuracy"] for row in found] == [row["test_accuracy"] for row in found]
    again = make(run_dir=tmp_path / "run", validation=TEST, patience=2, tolerance=0.02)
    again.resume()
    assert again.fit(60)["epochs"] == summary["epochs"]


def test_validation_never_changes_the_training():
    alone, validated = make(), make(validation=TEST)
    summaries = without_times([alone.fit(3), validated.fit(3) | {"validation_accuracy": None}])
    assert summaries[0] == summaries[1]
    assert_same(dict(alone.model.theta), dict(validated.model.theta))


def test_members_stop_each_in_its_own_time():
    def trainers():
        alphas = (1.0, 100.0, float("inf"))
        stopping = [{"validation": TEST_IMAGES, "patience": n, "tolerance": 0.3} for n in (1, 2, 3)]
        return [make_convolutional(alpha, **options) for alpha, options in zip(alphas, stopping, strict=True)]

    together, alone = trainers(), trainers()
    summaries = lt.fit_together(together, 30)
    assert len({summary["epochs"] for summary in summaries}) > 1
    for summary, ours, theirs in zip(summaries, together, alone, strict=True):
        assert without_times([summary]) == without_times([theirs.fit(30)])
        assert_same(ours.model.state_dict(), theirs.model.state_dict())


def test_best_checkpoint_goes_by_the_validation_accuracy(tmp_path):
    wrong = (TEST[0], (TEST[1] + 1) % 3)  # right where the test labels are wrong
    trainer = make(run_dir=tmp_path / "run", validation=wrong)
    trainer.fit(4)
    accuracies = [row["validation_accuracy"] for row in trainer.member.state.rows]
    best = load_checkpoint(tmp_path / "run" / "checkpoints" / "best.pt")
    assert best["epoch"] == accuracies.index(max(accuracies))


@pytest.mark.parametrize("validation", [None, (TEST[0], torch.zeros(len(TEST[0]), 3))], ids=["none", "floating"])
def test_patience_needs_accuracies(validation):
    with pytest.raises(ValueError, match="patience=2 stops by the accuracy on validation examples|give the targets"):
        make(validation=validation, patience=2)


def test_held_out_images_are_trained_on_by_nobody(tmp_path):
    keys = {"model": MLP, "epochs": 2, "optimizer": Optimizer(lr=0.1), "runs_dir": str(tmp_path), "probes": ()}
    experiment = Training(data=Data(train_size=100, test_size=20, validation_size=30), **keys)
    problem = experiment.problem()
    assert [len(images) for images in problem.sets.values()] == [70, 20, 30]
    everything = Training(data=Data(train_size=100, test_size=20), **keys).problem().train
    both = torch.cat([problem.train.images, problem.validation.images]).flatten(1)
    assert torch.equal(both.sum(1).sort().values, everything.images.flatten(1).sum(1).sort().values)
    run = perform(experiment)
    assert run.summary["validation_accuracy"] is not None and set(run.config["fingerprints"]) >= {"validation", "train"}
    assert run.config["about"]["validation_size"] == 30


def test_a_run_that_has_settled_is_done(tmp_path):
    keys = {"model": MLP, "optimizer": Optimizer(lr=1e-6), "runs_dir": str(tmp_path), "probes": ()}
    keys |= {"data": Data(train_size=100, test_size=20, validation_size=30)}
    run = perform(Training(epochs=9, stopping=Stopping(patience=2, tolerance=0.9), **keys))
    assert run.summary["has_settled"] and run.summary["epochs"] == 2
    assert Training(epochs=80, **keys).is_done(run.summary)
