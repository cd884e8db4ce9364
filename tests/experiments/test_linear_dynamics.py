"""The experiment linear_dynamics: what it measures, and what it leaves."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from lazytorch.runs import RunDirectory

SMALL = ["experiment=linear_dynamics", "data.train_size=30", "data.test_size=20", "model.width=32"]


@pytest.fixture
def run(lazytorch):
    def run(*arguments):
        code, out, err = lazytorch(*SMALL, *arguments)
        assert code == 0 and len(out) == 1, err
        return RunDirectory(out[-1]), err

    return run


def columns(run, table):
    rows = run.table(table)
    return {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0]}


def test_training_follows_the_closed_form_and_departs_like_one_over_alpha(run):
    done, err = run("steps=100", "alphas=[1e2,1e4,1e6]")
    curves = columns(done, "curves")
    assert len(curves["step"]) == 101
    np.testing.assert_allclose(curves["train_loss"], curves["train_loss_predicted"], rtol=1e-4)
    np.testing.assert_allclose(curves["test_loss"], curves["test_loss_predicted"], rtol=1e-4)
    assert curves["train_loss"][0] == pytest.approx(0.1)  # outputs of 0 for one-hot targets of 10 classes
    assert curves["train_loss"][-1] < 0.5 * curves["train_loss"][0]
    assert max(curves["train_error"].max(), curves["test_error"].max()) < 1e-4
    departure = columns(done, "departure")
    np.testing.assert_allclose(departure["alpha"], [1e2, 1e4, 1e6])
    for part in ("train", "test"):
        np.testing.assert_allclose(np.diff(np.log10(departure[part])) / 2, -1, atol=0.05)
    summary = done.summary
    assert summary["status"] == "finished" and summary["departure_slope"] == pytest.approx(-1, abs=0.05)
    assert summary["train_error"] == pytest.approx(curves["train_error"].max())
    assert summary["lr"] == pytest.approx(0.9 * summary["largest_stable_step"])
    assert [claim["held"] for claim in summary["claims"]] == [True, True]
    line = err.splitlines()[-1]
    assert f"train_error {summary['train_error']:.4g}" in line and "departure_slope" in line
    assert line.count("; held: ") == 2


FEW = ["steps=3", "alphas=[1e2,1e3]"]


def test_the_run_directory(run):
    done, _ = run(*FEW)
    path = done.path
    assert path.parent == Path("runs/linear_dynamics")
    names = {p.name for p in path.iterdir() if not p.name.startswith(".")}
    assert names == {"config.yaml", "summary.json", "report.json", "curves.csv", "departure.csv", "tensorboard"}
    config = yaml.safe_load((path / "config.yaml").read_text())
    assert config["about"]["train_size"] == 30 and config["versions"]["torch"]
    assert not {"alpha", "epochs", "loss", "batch_size", "schedule", "precision"} & set(config)  # it does not read them
    before = (path / "summary.json").stat().st_mtime_ns
    assert run(*FEW, "device=cpu")[0].path == path and (path / "summary.json").stat().st_mtime_ns == before
    assert run(*FEW, "resume=false")[0].path == path and (path / "summary.json").stat().st_mtime_ns > before
    assert run(*FEW, "step=0.5")[0].path != path


def test_divergence_is_a_result(run):
    done, _ = run("model.activation=identity", "steps=20", "alphas=[1e-6,1e5]")
    assert done.table("departure")[0] == {"alpha": 1e-06, "train": float("inf"), "test": float("inf")}
    assert done.summary["departure_slope"] is None and done.summary["claims"][1]["held"] is None


BAD = {
    "key of trainings": (["loss=cross_entropy"], "LinearDynamics reads no key loss: remove it"),
    "key of a group": (["optimizer.lr=1"], "LinearDynamics reads no key optimizer.lr: remove it"),
    "added key": (["+stepz=3"], "LinearDynamics reads no key stepz: remove it, or use step"),
    "augmentation": (["data.augment=flip"], "set it to none"),
    "steps": (["steps=0"], "steps must be at least 1"),
    "step": (["step=1"], "step must be above 0 and below 1"),
    "momentum": (["optimizer.momentum=1"], "optimizer.momentum must be at least 0 and below 1"),
    "no list": (["alphas=3"], "alphas"),
    "no alphas": (["alphas=[]"], "give one or more"),
    "alpha": (["alphas=[0]"], "alpha must be in (0, inf]"),
    "inf": (["alphas=[inf]"], "inf is always trained"),
    "resume": (["resume=there.pt"], "has no checkpoints"),
    "model": (["model=custom", "model._target_=torch.nn.Flatten"], "the network maps 2 images to (2, 64)"),
    "batch norm": (["model=torchvision", "model.name=shufflenet_v2_x0_5"], "others in training mode"),
    "null": (["optimizer=null"], "optimizer is null"),
    "sweep": (["sweep.fused=true"], "LinearDynamics reads no key sweep.fused: remove it"),
    "precision": (["precision=float64"], "LinearDynamics reads no key precision: remove it"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_and_leaves_nothing(lazytorch, folder, case):
    arguments, message = BAD[case]
    own = [argument for argument in SMALL if case not in ("model", "batch norm") or "model" not in argument]
    code, out, err = lazytorch(*own, *arguments)
    assert code == 1 and out == [] and len(err.splitlines()) == 1 and message in err, err
    assert list(folder.iterdir()) == []
