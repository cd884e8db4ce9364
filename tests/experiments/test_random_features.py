"""The experiment random_features, against ridge regression on explicit features."""

import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lazytorch import data
from lazytorch.experiments import perform
from lazytorch.experiments.problem import Data
from lazytorch.experiments.random_features import RandomFeatures, _refit
from lazytorch.reports.cli import main as report
from lazytorch.runs import RunDirectory
from lazytorch.theory.feature_ridge import PrimalRidge
from lazytorch.theory.random_features import draw_filters
from lazytorch.theory.ridge import hold_out, one_hot

from ..theory.slow_features import slow_features, slow_ridge

SMALL = ("experiment=random_features", "data=digits", "data.train_size=70", "data.test_size=30", "checkpoint_seconds=0")


def accuracy(outputs, labels):
    return (outputs.argmax(1) == labels).double().mean().item()


@pytest.mark.parametrize("count", [8, 3], ids=["dual", "primal"])
def test_is_ridge_regression_on_the_features(lazytorch, count):
    code, out, err = lazytorch(*SMALL, f"filters={count}", "data.size=32", "seed=2")
    assert code == 0, err
    run = RunDirectory(out[-1])
    names = {path.name for path in run.path.iterdir() if not path.name.startswith(".")}
    assert names == {"config.yaml", "summary.json", "report.json", "regulariser.csv", "tensorboard"}

    train, test = data.load("digits", train_size=70, test_size=30, size=32, seed=2)
    filters = draw_filters(train.images, count, seed=2)
    features, test_features = (slow_features(images.images, filters) for images in (train, test))
    targets, (fitted, held_out) = one_hot(train.labels, 10), hold_out(train.labels, 2)
    found = {row["regulariser"]: row["validation_accuracy"] for row in run.table("regulariser")}
    for regulariser in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
        outputs = features[held_out] @ slow_ridge(features[fitted], targets[fitted], regulariser)
        assert found[regulariser] == pytest.approx(accuracy(outputs, train.labels[held_out]))
    summary = run.summary
    assert summary["validation_accuracy"] == max(filter(None, found.values())) == found[summary["regulariser"]]
    assert summary["regulariser"] == max(r for r, v in found.items() if v == summary["validation_accuracy"])
    weights = slow_ridge(features, targets, summary["regulariser"])
    assert summary["train_accuracy"] == pytest.approx(accuracy(features @ weights, train.labels))
    assert summary["test_accuracy"] == pytest.approx(accuracy(test_features @ weights, test.labels))
    assert (summary["filters"], summary["features"]) == (count, 18 * count)


def test_the_regulariser_does_not_depend_on_the_test_labels(folder, monkeypatch):
    experiment = RandomFeatures(data=Data(train_size=70, test_size=30), filters=20)
    first, problem = perform(experiment), experiment.problem()
    wrong = data.ImageSet(problem.test.images, (problem.test.labels + 1) % 10, problem.test.classes)
    monkeypatch.setattr(RandomFeatures, "problem", lambda self: replace(problem, test=wrong, _made={}))
    second = perform(replace(experiment, name="permuted"))
    assert second.table("regulariser") == first.table("regulariser")
    same = ("regulariser", "validation_accuracy", "train_accuracy")
    assert [first.summary[name] for name in same] == [second.summary[name] for name in same]
    assert first.summary["test_accuracy"] > 0.5 > second.summary["test_accuracy"]


@pytest.mark.parametrize(
    ("filters", "parts"),
    [pytest.param("filters=140", 3, id="dual"), pytest.param("filters=20", 2, id="primal", marks=pytest.mark.slow)],
)
def test_killed_at_any_moment_it_goes_on_to_the_same_numbers(start, folder, filters, parts):
    code, out, err = start(*SMALL, filters, "runs_dir=whole").wait()
    assert code == 0, err
    whole, command = RunDirectory(out[-1]), (*SMALL, filters, "runs_dir=killed")
    killed = RunDirectory(Path("killed") / whole.path.relative_to("whole"))
    for moment, done, rows in (((".pt", 2), 1, 0), ((".csv", 4), parts, 3)):
        assert start(*command, kill_at_write=moment).wait()[0] == -signal.SIGKILL
        assert torch.load(killed.checkpoint("gram"), weights_only=True)["done"] == done
        assert len(killed.table("regulariser")) == rows and killed.summary is None
    code, _, err = start(*command).wait()
    assert code == 0, err
    assert killed.table("regulariser") == whole.table("regulariser")
    assert killed.summary | {"seconds": 0} == whole.summary | {"seconds": 0}
    assert not killed.checkpoint("gram").parent.exists()


def test_regularisers_that_were_tried_are_not_solved_again(folder, monkeypatch):
    experiment, tried = RandomFeatures(data=Data(train_size=70, test_size=30), filters=20), []
    run = perform(experiment)
    whole = run.table("regulariser")
    run.write_table("regulariser", whole[:4])
    (run.path / "summary.json").unlink()
    outputs = PrimalRidge.held_out_outputs
    monkeypatch.setattr(PrimalRidge, "held_out_outputs", lambda self, left: tried.extend(left) or outputs(self, left))
    assert perform(experiment).table("regulariser") == whole and tried == list(experiment.regularisers[4:])


def test_a_regulariser_too_small_for_all_images_gives_way_to_the_next_best():
    class Ridge:
        def outputs(self, regulariser):
            return None if regulariser < 1e-3 else torch.ones(1)

    assert _refit(Ridge(), {1e-1: 0.5, 1e-2: 0.7, 1e-4: 0.9, 1e-5: None})[0] == 1e-2


@pytest.mark.slow
def test_report_shows_figures_and_published_numbers(lazytorch):
    for filters in ("filters=3", "filters=20"):
        code, out, err = lazytorch(*SMALL, filters)
        assert code == 0, err
    assert report([str(Path(out[-1]).parent), "-o", "report"]) == 0
    assert {"regulariser.png", "filters.png"} <= {path.name for path in Path("report").iterdir()}
    page = Path("report/report.md").read_text()
    assert "84.2" in page and "83.3" in page and "JPEG" in page
    assert "not comparable: " in page and "filters is 20 (" in page


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("data.augment=flip", "set it to none"),
        ("data.mean=[0.5]", "set data.mean=null and data.std=null"),
        ("data.size=5", "smaller than the patches of 6x6: use data.size=6 or more"),
        ("regularisers=[]", "give one or more regularisers, none of them twice"),
        ("regularisers=[0.1,0.1]", "give one or more regularisers, none of them twice"),
        ("filters=0", "filters must be at least 1"),
        ("alpha=3", "RandomFeatures reads no key alpha: remove it"),
    ],
)
def test_settings_that_cannot_be_are_refused_before_anything_is_written(lazytorch, folder, key, words):
    code, out, err = lazytorch(*SMALL, key)
    assert code == 1 and out == [] and len(err.splitlines()) == 1 and words in err
    assert not list(folder.rglob("*.csv"))
