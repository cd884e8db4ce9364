import json
import math

import pytest

from lazytorch.reports import TRAINING, Report
from lazytorch.reports.reading import read_runs
from lazytorch.reports.sections import sections
from lazytorch.runs import RunDirectory, identity

ALPHAS = (1.0, 10.0, 1000.0, math.inf)
VERSIONS = {"lazytorch": "0.2.0", "git": "abc1234", "python": "3.12.1", "torch": "2.15.0", "device": "cpu"}
DEFAULTS = {
    "_target_": "lazytorch.experiments.Training",
    "alpha": 1.0,
    "seed": 0,
    "epochs": 4,
    "batch_size": 128,
    "loss": "mse",
    "device": "auto",
    "precision": "float32",
    "model": {"_target_": "lazytorch.models.vgg11", "width": 0.25},
    "data": {"name": "digits", "root": None, "train_size": None, "test_size": 360},
    "optimizer": {"lr": 1.0, "momentum": 0.9},
}


def configure(base, changed):
    """`base` with the dotted keys of `changed` put in."""
    config = json.loads(json.dumps(base))
    for key, value in changed.items():
        *groups, last = key.split(".")
        place = config
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return config


def result(alpha, seed):
    """Plausible numbers: what is lazy learns less, and moves by 1 / alpha."""
    lazy = 1.0 if math.isinf(alpha) else alpha / (alpha + 10)
    move = 0.0 if math.isinf(alpha) else 1 / alpha
    return {
        "train_accuracy": 1 - 0.4 * lazy + 0.01 * seed,
        "test_accuracy": 0.9 - 0.3 * lazy - 0.01 * seed,
        "train_loss": 0.01 + lazy,
        "test_loss": 0.02 + lazy,
        "displacement": 0.3 * move * (1 + 0.1 * seed),
        "ntk_drift": 0.5 * move + 3e-16,
        "kernel_distance": 0.1 * move**2,
        "activation_stability": 1 - 0.3 * min(1, move),
        "linearization_error": 0.2 * min(1, move),
        "epochs": 4,
        "seconds": 12.5,
    }


@pytest.fixture
def write(tmp_path):
    """Writes a run directory as an experiment does; status None leaves the summary out, as a kill does."""

    def make(
        changed,
        summary=None,
        status="finished",
        metrics=(),
        tables=None,
        report=None,
        quantities=None,
        folder="runs",
        base=DEFAULTS,
        fingerprints=None,
        about=None,
        **words,
    ):
        config = configure(base, changed)
        run = RunDirectory(tmp_path / folder / identity(config["_target_"], dict(changed)))
        prints = {"train": "a" * 8, "test": "b" * 8} if fingerprints is None else fingerprints
        sizes = {"train_size": 1437, "test_size": 360, "model": "VGG"} if about is None else about
        run.create(config | {"changed": dict(changed)}, VERSIONS, prints, sizes)
        if report is not None:
            plain = report.to_dict() if isinstance(report, Report) else report
            run.write_report(plain | {"quantities": quantities or {}} | words)
        for row in metrics:
            run.append(row)
        for name, rows in (tables or {}).items():
            run.write_table(name, rows)
        if status:
            run.write_summary((summary or {}) | {"status": status})
        return run

    return make


@pytest.fixture
def train(write):
    """Writes a training run of a scale and a seed, with plausible numbers; `changed` are other fields, dotted."""

    def make(alpha, seed=0, status="finished", epochs=4, results=None, changed=None, report=TRAINING, **options):
        final = result(alpha, seed) | (results or {})
        metrics = [
            final | {"epoch": e, "alpha": alpha, "train_loss": (final["train_loss"] or 0) * (1 + epochs - e)}
            for e in range(epochs + 1)
        ]
        own = {"alpha": alpha, "seed": seed} | (changed or {})
        return write(own, final | {"alpha": alpha}, status, metrics, report=report, **options)

    return make


@pytest.fixture
def sweep(train, tmp_path):
    """Three seeds at each of ALPHAS, all finished; the folder that holds them."""
    for alpha in ALPHAS:
        for seed in range(3):
            train(alpha, seed)
    return tmp_path / "runs"


@pytest.fixture
def only(tmp_path):
    """The one section of the runs at or below a folder."""

    def read(folder=None):
        runs, left_out = read_runs([folder or tmp_path])
        assert left_out == []
        (section,) = sections(runs)
        return section

    return read
