"""The experiment prior_features, against scikit-learn's regressions on the transform."""

import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from sklearn.preprocessing import StandardScaler

from lazytorch import data
from lazytorch.experiments import prior_features
from lazytorch.reports.cli import main as report
from lazytorch.runs import RunDirectory
from lazytorch.theory.ridge import hold_out
from lazytorch.theory.scattering import Scattering

SMALL = (
    "experiment=prior_features",
    "data=digits",
    "data.train_size=60",
    "data.test_size=40",
    "octaves=1",
    "angles=4",
    "regularisers=[1,0.1]",
    "bandwidths=[0.5,2]",
    "precision=float64",
)


def features(images):
    coefficients = Scattering((8, 8), octaves=1, angles=4)(images.images.double() / 255)
    return np.log(coefficients.abs().flatten(1).numpy() + 1e-6)


def accuracies(fitted, others, regulariser, bandwidth):
    """Of scikit-learn, on pairs (features, labels): on the fitted images and on the others."""
    scaler = StandardScaler().fit(fitted[0])
    x, z = (scaler.transform(pair[0]) for pair in (fitted, others))
    distances = ((x[:, None] - x) ** 2).sum(2)
    kernel = {"kernel": "linear"} if bandwidth is None else {"kernel": "rbf", "gamma": 1 / bandwidth / distances.mean()}
    mean = (x**2).sum(1).mean() if bandwidth is None else 1
    targets = np.eye(10)[fitted[1]]
    regression = KernelRidge(alpha=regulariser * mean, **kernel).fit(x, targets - targets.mean(0))
    outputs = ((regression.predict(values) + targets.mean(0)).argmax(1) for values in (x, z))
    return tuple(np.mean(o == pair[1]) for o, pair in zip(outputs, (fitted, others), strict=True))


def test_features_are_the_logarithms():
    train, _ = data.load("digits", train_size=20, test_size=10)
    found = prior_features.prior_features(Scattering((8, 8), 1, 4), train.images.double())
    np.testing.assert_allclose(found.numpy(), features(train), rtol=1e-12)


@pytest.mark.parametrize(("classifier", "bandwidths"), [("ridge", (None,)), ("rbf", (0.5, 2))])
def test_is_scikit_learns_regression_on_log_features(lazytorch, classifier, bandwidths):
    code, out, err = lazytorch(*SMALL, f"classifier={classifier}", "seed=3")
    assert code == 0, err
    run = RunDirectory(out[-1])
    train, test = data.load("digits", train_size=60, test_size=40, seed=3)
    of_train, of_test = features(train), features(test)
    fitted, held_out = ((of_train[index], train.labels.numpy()[index]) for index in hold_out(train.labels, seed=3))
    expected = {(r, b): accuracies(fitted, held_out, r, b)[1] for b in bandwidths for r in (1, 0.1)}
    rows = run.table("candidates")
    found = {(row["regulariser"], row["bandwidth"]): row["validation_accuracy"] for row in rows}
    assert found == pytest.approx(expected)
    best = max(found, key=lambda pair: (found[pair], pair[0]))
    summary = run.summary
    assert (summary["regulariser"], summary["validation_accuracy"]) == (best[0], found[best])
    assert found[summary["regulariser"], summary["bandwidth"]] == found[best]
    ours = summary["train_accuracy"], summary["test_accuracy"]
    pairs = [(of_train, train.labels.numpy()), (of_test, test.labels.numpy())]
    assert ours == pytest.approx(accuracies(*pairs, summary["regulariser"], summary["bandwidth"]))
    assert summary["test_accuracy"] > 0.7 and summary["features"] == of_train.shape[1] == 5 * 16
    assert "train accuracy" in err.splitlines()[-1] and "test accuracy" in err.splitlines()[-1]


def test_killed_among_the_candidates_it_goes_on_to_the_same_numbers(start):
    rbf = (*SMALL, "classifier=rbf")
    assert start(*rbf, "runs_dir=killed", kill_at_write=(".csv", 3)).wait()[0] == -signal.SIGKILL
    (killed,) = map(RunDirectory, Path("killed/prior_features").iterdir())
    first = killed.table("candidates")
    assert killed.summary is None and len(first) == 2
    code, _, err = start(*rbf, "runs_dir=killed").wait()
    assert code == 0, err
    start(*rbf, "runs_dir=whole").wait()
    (whole,) = map(RunDirectory, Path("whole/prior_features").iterdir())
    assert killed.table("candidates") == whole.table("candidates") and killed.table("candidates")[:2] == first
    untimed = [{k: v for k, v in run.summary.items() if k != "seconds"} for run in (killed, whole)]
    assert untimed[0] == untimed[1]
    assert not list(killed.path.rglob("*.tmp")) and {path.suffix for path in killed.path.glob("[!.]*.*")} == {
        ".csv",
        ".json",
        ".yaml",
    }


def test_both_classifiers_have_their_report_beside_the_published_number(lazytorch):
    code, out, err = lazytorch("-m", *SMALL, "classifier=ridge,rbf")
    assert code == 0, err
    assert report([*out, "-o", "report"]) == 0
    page = Path("report/report.md").read_text()
    assert Path("report/validation.png").exists()
    assert "not its source" in page and "82.3" in page and "data.name is digits (cifar10 there)" in page


def test_a_regulariser_below_the_rounding_is_passed_over(lazytorch):
    singular = ("classifier=rbf", "bandwidths=[1e12]", "precision=float32")  # a kernel of ones
    code, out, err = lazytorch(*SMALL, *singular, "regularisers=[0.1,1e-30]")
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert [row["validation_accuracy"] is None for row in run.table("candidates")] == [False, True]
    assert run.summary["regulariser"] == 0.1
    code, _, err = lazytorch(*SMALL, *singular, "regularisers=[1e-30]")
    assert code == 1 and "no regulariser of 1e-30 is large enough: try larger ones" in err


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["data.augment=flip"], "PriorFeatures has no augmentation, set it to none"),
        (["octaves=3"], "images of 8x8 pixels have no scattering of 3 octaves"),
        (["octaves=0"], "octaves must be at least 1"),
        (["angles=3"], "angles must be at least 4"),
        (["regularisers=[]"], "regularisers=[] has none to try: give one or more"),
        (["bandwidths=[0]"], "bandwidths must be above 0"),
        (["classifier=svm"], "choose one of ridge, rbf"),
        (["data.train_size=10"], "leaves none of class 0: hold out fewer"),
    ],
)
def test_what_cannot_be_is_refused(lazytorch, keys, words):
    code, out, err = lazytorch(*SMALL, *keys)
    assert code == 1 and out == [] and len(err.splitlines()) == 1 and words in err, err


def test_what_does_not_fit_into_memory_is_refused(lazytorch, monkeypatch):
    for classifier, kernel in (("ridge", 4 * 80**2), ("rbf", 4 * 100**2 + 2 * 100 * 40)):
        needed = 8 * ((3 * 100 + 2 * 40) * 80 + kernel)
        monkeypatch.setattr(prior_features, "free_memory", lambda device, there=needed - 1: there)
        code, _, err = lazytorch(*SMALL, "data.train_size=100", f"classifier={classifier}")
        assert code == 1 and "the regression on 100 images takes" in err and "data.train_size=..." in err
        monkeypatch.setattr(prior_features, "free_memory", lambda device, there=needed: there)
        code, _, err = lazytorch(*SMALL, "data.train_size=100", f"classifier={classifier}")
        assert code == 0, err
    monkeypatch.undo()
    assert prior_features.free_memory(torch.device("cpu")) > 2**27
