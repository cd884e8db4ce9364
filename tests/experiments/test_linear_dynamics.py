"""The experiment linear_dynamics from the command line: what it measures, and what it leaves."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

SMALL = ["experiment=linear_dynamics", "data.train_size=30", "data.test_size=20", "model.width=32"]


@pytest.fixture
def run(lazytorch):
    def run(*arguments):
        code, out, err = lazytorch(*SMALL, *arguments)
        assert code == 0 and len(out) == 1, err
        return Path(out[-1]), err

    return run


def test_training_follows_the_closed_form_and_departs_like_one_over_alpha(run):
    path, _ = run()
    curves = np.genfromtxt(path / "curves.csv", delimiter=",", names=True)
    assert len(curves) == 201
    np.testing.assert_allclose(curves["train_loss"], curves["train_loss_predicted"], rtol=1e-4)
    np.testing.assert_allclose(curves["test_loss"], curves["test_loss_predicted"], rtol=1e-4)
    assert curves["train_loss"][0] == pytest.approx(0.1)  # outputs of 0 for one-hot targets of 10 classes
    assert curves["train_loss"][-1] < 0.5 * curves["train_loss"][0]
    assert max(curves["train_error"].max(), curves["test_error"].max()) < 1e-4
    departure = np.genfromtxt(path / "departure.csv", delimiter=",", names=True)
    np.testing.assert_allclose(departure["alpha"], [1e2, 1e3, 1e4, 1e5, 1e6])
    for part in ("train", "test"):
        slopes = np.diff(np.log10(departure[part]))
        np.testing.assert_allclose(slopes, -1, atol=0.05)
    summary = json.loads((path / "summary.json").read_text())
    assert summary["status"] == "finished" and summary["departure_slope"] == pytest.approx(-1, abs=0.05)
    assert summary["train_error"] == pytest.approx(curves["train_error"].max())
    assert summary["lr"] == pytest.approx(0.9 * summary["largest_stable_step"])


def test_the_run_directory(run):
    few = ["steps=3", "alphas=[1e2,1e3]"]
    path, _ = run(*few)
    assert path.parent == Path("runs/linear_dynamics")
    names = {p.name for p in path.iterdir() if not p.name.startswith(".")}
    assert names == {"config.yaml", "summary.json", "report.json", "curves.csv", "departure.csv", "tensorboard"}
    config = yaml.safe_load((path / "config.yaml").read_text())
    assert config["about"]["train_size"] == 30 and config["versions"]["torch"]
    assert not {"alpha", "epochs", "loss", "batch_size", "schedule"} & set(config)  # which it does not read
    before = (path / "summary.json").stat().st_mtime_ns
    assert run(*few, "device=cpu")[0] == path and (path / "summary.json").stat().st_mtime_ns == before
    assert run(*few, "resume=false")[0] == path and (path / "summary.json").stat().st_mtime_ns > before
    assert run(*few, "step=0.5")[0] != path


def test_divergence_is_a_result(run):
    path, _ = run("model.activation=identity", "steps=20", "alphas=[1e-6,1e5]")
    assert (path / "departure.csv").read_text().splitlines()[1] == "1e-06,inf,inf"
    summary = json.loads((path / "summary.json").read_text())
    assert summary["departure_slope"] is None


BAD = {
    "unread key": (["loss=cross_entropy"], "nothing reads the key loss"),
    "unread nested key": (["optimizer.lr=1"], "optimizer.lr"),
    "augmentation": (["data.augment=flip"], "augment"),
    "unknown key": (["+stepz=3"], "reads no key stepz"),
    "steps": (["steps=0"], "steps must be at least 1"),
    "step": (["step=1"], "step must be"),
    "momentum": (["optimizer.momentum=1"], "optimizer.momentum must be"),
    "alphas": (["alphas=3"], "alphas"),
    "alpha": (["alphas=[0]"], "alpha must be in (0, inf]"),
    "inf": (["alphas=[inf]"], "inf is always trained"),
    "resume": (["resume=there.pt"], "has no checkpoints"),
    "model": (["model=custom", "model._target_=torch.nn.Flatten"], "the network maps 2 images to (2, 64)"),
    "batch norm": (["model=torchvision", "model.name=shufflenet_v2_x0_5"], "others in training mode"),
    "sweep": (["sweep.fused=true"], "sweep"),
    "null": (["optimizer=null"], "optimizer is null"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(lazytorch, tmp_path, case):
    arguments, message = BAD[case]
    own = [argument for argument in SMALL if case not in ("model", "batch norm") or "model" not in argument]
    code, out, err = lazytorch(*own, *arguments)
    lines = err.strip().splitlines()
    assert code == 1 and out == [] and len(lines) == 1 and message in lines[0], err
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_steps_count_in_the_identity(run):
    few = ["alphas=[1e2]"]
    assert run(*few, "steps=3")[0] != run(*few, "steps=4")[0]


def test_training_runs_do_not_read_the_keys_of_other_experiments(lazytorch):
    code, _, err = lazytorch("+steps=3")
    assert code == 1 and "reads no key steps" in err
