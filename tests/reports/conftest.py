import json
import math

import pytest

from lazytorch.runs import RunDirectory, identity

ALPHAS = (1.0, 10.0, 1000.0, math.inf)


def config(alpha, seed, **over):
    """A resolved configuration; dotted keys in `over` reach into its groups."""
    base = {
        "alpha": alpha,
        "seed": seed,
        "epochs": 4,
        "device": "auto",
        "precision": "float32",
        "model": {"_target_": "lazytorch.models.vgg11", "width": 0.25},
        "data": {"name": "digits", "root": None, "train_size": None, "test_size": 360},
        "optimizer": {"lr": 1.0, "momentum": 0.9},
        "schedule": {"beta": 1 / 3},
    }
    base = json.loads(json.dumps(base))
    for key, value in over.items():
        *groups, last = key.split(".")
        place = base
        for group in groups:
            place = place[group]
        place[last] = value
    return base


def result(alpha, seed):
    """Plausible numbers: what is lazy learns less, and moves by 1 / alpha."""
    lazy = 1.0 if math.isinf(alpha) else alpha / (alpha + 10)
    move = 0.0 if math.isinf(alpha) else 1 / alpha
    return {
        "alpha": alpha,
        "train_accuracy": 1 - 0.4 * lazy + 0.01 * seed,
        "test_accuracy": 0.9 - 0.3 * lazy - 0.01 * seed,
        "train_loss": 0.01 + lazy,
        "test_loss": 0.02 + lazy,
        "displacement": 0.3 * move,
        "ntk_drift": 0.5 * move + 3e-16,
        "kernel_distance": 0.1 * move**2,
        "activation_stability": 1 - 0.3 * move,
        "epochs": 4,
        "seconds": 12.5,
    }


@pytest.fixture
def train(tmp_path):
    """Writes a run directory as the trainer does; status None leaves the summary out, as a kill does."""

    def write(alpha, seed=0, status="finished", folder="runs", fingerprint=None, epochs=4, results=None, **over):
        own = config(alpha, seed, **over)
        run = RunDirectory(tmp_path / folder / identity(own))
        versions = {"lazytorch": "0.1.0", "git": "abc1234", "torch": "2.15.0", "device": "cpu"}
        run.create(own, versions, fingerprint or {"train_size": 1437, "test_size": 360, "train": f"of seed {seed}"})
        final = result(alpha, seed) | (results or {})
        for epoch in range(epochs + 1):
            part = {"epoch": epoch, "linearization_error": 0.2 if math.isfinite(alpha) else 0.0}
            run.append(
                final | part | {"train_loss": final["train_loss"] and final["train_loss"] * (1 + epochs - epoch)}
            )
        if status:
            run.write_summary(final | {"status": status})
        return run

    return write


@pytest.fixture
def sweep(train, tmp_path):
    """Three seeds at each of ALPHAS, all finished; the folder that holds them."""
    for alpha in ALPHAS:
        for seed in range(3):
            train(alpha, seed)
    return tmp_path / "runs"
