"""The run directory of a script's trainer: what it records, and what it refuses."""

import math
import os
import platform
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.data import DeviceData
from lazytorch.reports import write_report
from lazytorch.runs import RunDirectory
from lazytorch.training import fit_together

from .problems import TEST, TRAIN, assert_same, images, make, network, points, without_times


def files(path):
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name != ".lock"}


def test_the_configuration_records_settings_data_versions_and_device(tmp_path):
    make(run_dir=tmp_path, momentum=0.5, beta=1).fit(1)
    config = RunDirectory(tmp_path).config
    assert config["_target_"] == "lazytorch.Trainer" and config["layout"] == 2
    assert (config["alpha"], config["seed"], config["batch_size"], config["loss"]) == (10.0, 0, 8, "mse")
    assert config["optimizer"] == {"lr": 0.1, "momentum": 0.5} and config["schedule"] == {"beta": 1}
    assert config["model"] == {"_target_": "torch.nn.modules.container.Sequential"}
    assert config["probes"] == ["displacement", "ntk", "activations", "linearization"] and config["probe_size"] == 5
    assert config["about"] == {"train_size": 61, "test_size": 23, "model": "Sequential"}
    assert config["versions"]["torch"] == str(torch.__version__)
    assert config["versions"]["python"] == platform.python_version()
    assert config["versions"]["device"].startswith("cpu")
    assert config["fingerprints"] == make(momentum=0.5).fingerprints
    assert set(config["fingerprints"]) == {"train", "test", "network", "loss"}


def test_what_differs_from_the_defaults_tells_runs_apart(tmp_path):
    model = lt.CenteredModel(network(), math.inf)
    lt.Trainer(model, TRAIN, TEST, run_dir=tmp_path / "a").fit(1)
    always = {"alpha": math.inf, "seed": 0, "model._target_": "torch.nn.modules.container.Sequential"}
    assert RunDirectory(tmp_path / "a").config["changed"] == always
    lt.Trainer(lt.linearize(network()), TRAIN, TEST, lr=0.5, probes=["ntk"], run_dir=tmp_path / "b").fit(1)
    others = {"optimizer.lr": 0.5, "probes": ["ntk"], "linearized": "centered"}
    assert RunDirectory(tmp_path / "b").config["changed"] == always | others


def test_a_scripts_run_can_be_loaded_and_reported(tmp_path):
    trainer = make(run_dir=tmp_path / "run")
    trainer.fit(1)
    with pytest.raises(ValueError, match="give its network"):
        lt.load_run(tmp_path / "run")
    model = lt.load_run(tmp_path / "run", network(seed=5))
    assert_same(model.state_dict(), trainer.model.state_dict())
    write_report([tmp_path], tmp_path / "report")
    assert "| 10 |" in (tmp_path / "report" / "report.md").read_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained")
    make(run_dir=path, probes=()).fit(1)
    return path


@pytest.fixture
def there(trained, tmp_path):
    """The directory of a finished run."""
    return shutil.copytree(trained, tmp_path / "there")


def test_a_finished_run_is_not_trained_over(there):
    """What the old Trainer did: deleted it."""
    before = files(there)
    with pytest.raises(ValueError, match=r"holds this run already \(finished\): call resume\(\).*another run_dir"):
        make(run_dir=there, probes=()).fit(2)
    assert files(there) == before
    again = make(run_dir=there, probes=())
    assert again.resume() and again.fit(2)["epochs"] == 2


@pytest.mark.parametrize("left", ("summary.json", "checkpoints/last.pt"))
def test_a_run_that_lost_its_configuration_is_not_trained_over(there, left):
    for file in files(there):
        if file != there / left:
            file.unlink()
    with pytest.raises(ValueError, match="call resume"):
        make(run_dir=there, probes=()).fit(2)
    assert list(files(there)) == [there / left]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1000.0}, "another configuration .alpha: 10.0 there, 1000.0 here"),
        ({"lr": 0.2}, "lr: 0.1 there, 0.2 here"),
        ({"seed": 1}, "seed: 0 there, 1 here"),
        ({"loss": "cross_entropy"}, "loss: 'mse' there, 'cross_entropy' here"),
        ({"train": points(61, 7)}, "another train set .fingerprint"),
        ({"test": points(23, 7)}, "another test set .fingerprint"),
        ({"net": nn.Sequential(network()[0], nn.GELU(), network()[2])}, "another network .fingerprint"),
    ],
)
def test_a_directory_of_another_run_is_refused(there, options, message):
    before = files(there)
    for train in (lambda trainer: trainer.fit(1), lambda trainer: trainer.resume()):
        with pytest.raises(ValueError, match=message + ".*another run_dir"):
            train(make(run_dir=there, **({"probes": ()} | options)))
    assert files(there) == before


def test_an_edited_loss_is_another(tmp_path):
    def loss(outputs, y, factor=1.0):
        return factor * outputs.square().mean() + outputs.sum()

    make(run_dir=tmp_path, probes=(), loss=loss).fit(1)
    loss.__defaults__ = (2.0,)
    with pytest.raises(ValueError, match="another loss .fingerprint"):
        make(run_dir=tmp_path, probes=(), loss=loss).resume()


def normalised(augment="flip", mean=0.5, std=0.3):
    pixels = images(30, 0).inputs
    return DeviceData(pixels, torch.arange(30) % 3, augment=augment, mean=(mean,), std=(std,))


@pytest.mark.parametrize("changed", ({"augment": "crop_flip"}, {"augment": "none"}, {"mean": 0.4}, {"std": 0.2}))
def test_going_on_with_another_normalisation_or_augmentation_is_refused(tmp_path, changed):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    options = {"net": net, "test": images(9, 1).take(torch.arange(9)), "probes": (), "run_dir": tmp_path}
    make(train=normalised(), **options).fit(1)
    assert make(train=normalised(), **options).resume()
    with pytest.raises(ValueError, match="another train set"):
        make(train=normalised(**changed), **options).resume()


def test_the_run_of_an_experiment_is_not_a_scripts(there):
    config = there / "config.yaml"
    config.write_text(config.read_text().replace("lazytorch.Trainer", "lazytorch.experiments.Training"))
    trainer = make(run_dir=there)
    trainer.resume()
    with pytest.raises(ValueError, match="_target_: 'lazytorch.experiments.Training' there"):
        trainer.fit(2)


def test_probes_may_be_others_when_a_run_goes_on(there):
    trainer = make(run_dir=there, probes=["ntk"])
    assert trainer.resume()
    trainer.fit(2)
    assert RunDirectory(there).config["probes"] == ["ntk"]
    assert [row.get("ntk_drift") is None for row in RunDirectory(there).metrics] == [True, True, False]


def test_two_trainers_of_one_directory_at_once(tmp_path):
    with pytest.raises(RuntimeError, match=f"being trained by process {os.getpid()} .*wait"):
        fit_together([make(run_dir=tmp_path, probes=()) for _ in range(2)], 1)
    assert not RunDirectory(tmp_path).exists
    make(run_dir=tmp_path, probes=()).fit(1)  # the lock is free again


def test_another_process_that_trains_is_named(tmp_path):
    script = f"import lazytorch.runs as r\nwith r.RunDirectory({str(tmp_path)!r}).lock(): print('held'), input()"
    command, pipes = [sys.executable, "-c", script], {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, **pipes) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(RuntimeError, match=f"process {holder.pid} "):
            make(run_dir=tmp_path).fit(1)
        holder.communicate(b"\n")


def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_again(tmp_path):
    def failing(model):
        if model.theta_norm() > 0:
            raise ZeroDivisionError("no")
        return {}

    with pytest.raises(ZeroDivisionError):
        make(run_dir=tmp_path, probes=[failing]).fit(1)
    summary = RunDirectory(tmp_path).summary
    assert summary.items() >= {"alpha": 10.0, "status": "failed", "error": "ZeroDivisionError: no"}.items()
    assert summary["train_loss"] == pytest.approx(1 / 3)  # of the last evaluation, where all outputs are 0
    trainer = make(run_dir=tmp_path)
    assert not trainer.resume()
    assert trainer.fit(1)["status"] == "finished"
    assert [row["epoch"] for row in RunDirectory(tmp_path).metrics] == [0, 1]


def test_resuming_another_runs_checkpoint_keeps_the_settings_asked_for(there, tmp_path):
    options = {"run_dir": tmp_path / "two", "momentum": 0.0, "probes": ()}
    trainer = make(**options)
    assert trainer.resume(there / "checkpoints" / "last.pt") and trainer.epoch == 1
    trainer.fit(2)
    assert trainer.member.state.optimizer.param_groups[0]["momentum"] == 0.0
    # It is another run than one from the beginning, and says so.
    assert "start" in RunDirectory(tmp_path / "two").config["changed"]
    assert (tmp_path / "two" / "checkpoints" / "best.pt").exists()
    again = make(**options)
    assert again.resume() and again.fit(3)["epochs"] == 3
    assert "start" in RunDirectory(tmp_path / "two").config["changed"]
    (tmp_path / "two" / "checkpoints" / "last.pt").unlink()
    fresh = make(**options)
    assert not fresh.resume()
    with pytest.raises(ValueError, match="start: "):
        fresh.fit(1)


def test_a_checkpoint_of_another_alpha_or_model_is_refused(there):
    last = there / "checkpoints" / "last.pt"
    with pytest.raises(ValueError, match="alpha: 10.0 there, 1.0 here"):
        make(alpha=1.0).resume(last)
    wide = nn.Sequential(nn.Linear(6, 17), nn.ReLU(), nn.Linear(17, 3))
    with pytest.raises(ValueError, match=r"theta.0.weight: shape \(16, 6\) there, \(17, 6\) here"):
        make(net=wide).resume(last)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        make().resume(there / "none.pt")


@pytest.fixture(scope="module")
def reference():
    trainer = make(probes=())
    trainer.fit(3)
    return without_times(trainer.member.state.rows)


@pytest.mark.parametrize("damage", ("removed", "cut", "garbage"))
@pytest.mark.parametrize("when", ("resuming", "training"))
def test_metrics_that_were_damaged_come_back_from_the_checkpoint(there, reference, damage, when):
    def spoil():
        path = there / "metrics.jsonl"
        if damage == "removed":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else b"{garbage\n")

    def spoiling(model):
        if when == "training" and trainer.epoch == 2:
            spoil()
        return {}

    if when == "resuming":
        spoil()
    trainer = make(run_dir=there, probes=[spoiling])
    assert trainer.resume()
    trainer.fit(3)
    rows = RunDirectory(there).metrics
    assert without_times(rows) == reference and len(rows) == 4


def test_a_configuration_that_was_deleted_while_training_is_written_again(there):
    def deleting(model):
        (there / "config.yaml").unlink()
        return {}

    trainer = make(run_dir=there, probes=[deleting])
    trainer.resume()
    trainer.fit(2)
    assert RunDirectory(there).config["alpha"] == 10.0


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        make(run_dir=tmp_path / "file").fit(1)
