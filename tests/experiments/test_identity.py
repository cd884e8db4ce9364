"""What makes two runs the same run."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from lazytorch.experiments import Experiment, KernelSpectrum, LinearDynamics, Training, key
from lazytorch.experiments.perform import directory_of
from lazytorch.experiments.problem import Data
from lazytorch.experiments.training import Optimizer, Schedule, Sweep


def hash_of(experiment):
    return directory_of(experiment).path.name.rpartition("-")[2]


def same(left, right):
    return hash_of(left) == hash_of(right)


MLP = {"_target_": "lazytorch.models.mlp"}


def test_a_new_field_with_a_default_leaves_the_hash_alone():
    def declare(**more):
        namespace = {"__annotations__": {"steps": int, "widths": tuple[int, ...]} | dict.fromkeys(more, float)}
        fields = {"steps": key(3), "widths": key((1, 2)), **more}
        return dataclass(frozen=True)(type("Study", (Experiment,), namespace | fields))

    before, after = declare(), declare(rate=key(0.5), group=field(default_factory=Optimizer))
    assert same(before(), after())
    assert same(before(steps=5, widths=(3,), seed=1), after(steps=5, widths=(3,), seed=1))
    assert not same(after(), after(rate=0.25)) and not same(after(), after(group=Optimizer(lr=3)))


def test_a_group_with_a_default_of_its_own_is_as_it_is_by_default():
    @dataclass(frozen=True)
    class Study(Experiment):
        data: Data = field(default_factory=lambda: Data(train_size=100))

    assert Study().changed() == {"seed": 0}
    assert Study(data=Data(train_size=50)).changed() == {"seed": 0, "data.train_size": 50}
    assert Study(data=Data()).changed() == {"seed": 0, "data.train_size": None}


@dataclass(frozen=True)
class Measurement(Experiment):
    epochs: int = 3
    steps: int = 3


@pytest.mark.parametrize("change", ({"epochs": 4}, {"steps": 4}, {"epochs": 4, "steps": 4}, {"seed": 1}))
def test_measurements_that_differ_in_epochs_or_steps_are_two_runs(change):
    assert not same(Measurement(), Measurement(**change))


def test_steps_make_another_run_of_linear_dynamics():
    assert not same(LinearDynamics(steps=200), LinearDynamics(steps=100))


def test_epochs_of_a_training_do_not_count():
    assert same(Training(epochs=3), Training(epochs=5))


COUNTING = {
    "alpha": 2.0,
    "seed": 1,
    "loss": "cross_entropy",
    "precision": "float64",
    "batch_size": 64,
    "optimizer": Optimizer(lr=0.5),
    "schedule": Schedule(beta=0),
    "difference": "direct",
    "compile": True,
    "cudnn_benchmark": True,
    "probes": ("displacement",),
    "probe_size": 4,
    "evaluate_every": 2,
    "data": Data(train_size=50),
}


@pytest.mark.parametrize("name", COUNTING)
def test_what_changes_the_result_counts(name):
    experiment = Training(model=MLP)
    assert not same(experiment, replace(experiment, **{name: COUNTING[name]}))


ELSE = {
    "device": "cpu",
    "epochs": 7,
    "resume": False,
    "data": Data(root="elsewhere"),
    "sweep": Sweep(fused=True),
}


@pytest.mark.parametrize("name", ELSE)
def test_what_does_not_change_the_result_does_not_count(name):
    experiment = Training(model=MLP)
    assert same(experiment, replace(experiment, **{name: ELSE[name]}))
    assert experiment.changed() == replace(experiment, **{name: ELSE[name]}).changed()


def test_where_a_run_lies_does_not_count():
    moved = Training(model=MLP, runs_dir="elsewhere", name="other")
    assert directory_of(moved).path.parent == Path("elsewhere/other") and same(moved, Training(model=MLP))


def test_a_models_key_that_is_its_builders_default_does_not_count():
    spelt = MLP | {"width": 256, "depth": 2, "activation": "relu", "gain": 1, "hints": {"lr": 0.1}}
    assert same(Training(model=MLP), Training(model=spelt))
    for name, value in (("width", 128), ("gain", 2.0), ("_target_", "lazytorch.models.two_layer")):
        assert not same(Training(model=spelt), Training(model=spelt | {name: value})), name
    own = {"_target_": "mine.Net", "depth": 2}  # of which nothing is known
    assert not same(Training(model=own), Training(model={"_target_": "mine.Net"}))
    assert Training(model=own).changed()["model.depth"] == 2


def test_the_side_of_the_images_counts_whoever_says_it():
    hinted = MLP | {"hints": {"image_size": 32}}
    assert same(Training(model=hinted), Training(model=MLP, data=Data(size=32)))
    assert not same(Training(model=hinted), Training(model=MLP))


@pytest.mark.parametrize("spelling", (math.inf, float("inf")))
def test_one_number_is_one_run_however_it_is_spelt(spelling):
    assert same(Training(alpha=spelling), Training(alpha=math.inf))
    assert same(Training(alpha=1), Training(alpha=1.0)) and same(Training(alpha=1e7), Training(alpha=10_000_000))
    assert not same(Training(alpha=1e7), Training(alpha=spelling))


def test_another_experiment_is_another_run():
    assert len({hash_of(kind()) for kind in (Experiment, Training, LinearDynamics, KernelSpectrum)}) == 4


def test_the_class_is_named_by_where_it_is_defined():
    """Whatever packages export it, and whichever of them the configuration names."""
    assert Training.target() == "lazytorch.experiments.training.Training"
    assert Measurement.target() == f"{__name__}.Measurement"


def test_a_run_is_found_by_its_hash_whatever_its_label(tmp_path):
    experiment = Training(model=MLP, runs_dir=str(tmp_path), name="runs")
    label = directory_of(experiment).path.name
    assert label.startswith("alpha=1,seed=0,model=mlp-")
    renamed = tmp_path / "runs" / f"of-before-{hash_of(experiment)}"
    renamed.mkdir(parents=True)
    assert directory_of(experiment).path == renamed


def test_a_start_from_a_checkpoint_counts_by_its_content(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"one"), (tmp_path / "b.pt").write_bytes(b"one")
    (tmp_path / "c.pt").write_bytes(b"two")
    a, b, c = (Training(resume=str(tmp_path / f"{name}.pt")) for name in "abc")
    assert same(a, b) and len({hash_of(a), hash_of(c), hash_of(Training())}) == 3
    assert "start=" in directory_of(a).path.name
