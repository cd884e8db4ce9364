"""The trainer as a library class."""

import json
import math

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import TensorDataset

import lazytorch as lt
from lazytorch.reports import write_report
from lazytorch.runs import RunDirectory
from lazytorch.training import fit
from lazytorch.training import trainer as trainer_module
from lazytorch.training.evaluation import evaluate
from lazytorch.training.objective import mse
from lazytorch.training.precision import autocast
from lazytorch.training.schedule import learning_rate


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def points(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    return torch.randn(n, 6, generator=generator) + 2 * torch.nn.functional.one_hot(labels, 6), labels


def make(alpha=10.0, run_dir=None, **options):
    options = {"lr": 0.1, "batch_size": 8, "probe_size": 5} | options
    return lt.Trainer(lt.CenteredModel(network(), alpha), points(61), points(23, 1), run_dir=run_dir, **options)


def test_learns_and_summarises(tmp_path):
    trainer = make(run_dir=tmp_path / "run")
    summary = trainer.fit(4)
    assert summary["status"] == "finished" and summary["epochs"] == 4 and summary["alpha"] == 10.0
    assert summary["train_accuracy"] > 0.8 and 0 < summary["train_loss"] < 1 / 3
    assert summary == json.loads((tmp_path / "run" / "summary.json").read_text())
    rows = RunDirectory(tmp_path / "run").metrics
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3, 4]
    first, last = rows[0], rows[-1]
    # Outputs are 0 at the start: every argmax is class 0 and the loss is the mean square of one-hot vectors.
    assert first["train_accuracy"] == 21 / 61 and first["train_loss"] == pytest.approx(1 / 3)
    assert first["displacement"] == first["ntk_drift"] == 0 and first["activation_stability"] == 1
    assert first["linearization_error"] is None and last["linearization_error"] > 0
    assert last["learning_rate"] == pytest.approx(0.1 / (1 + 4 / 3))
    assert last["theta_norm"] / 10 == pytest.approx(last["displacement"] * trainer_norm(trainer))
    assert set(last["displacement_by_module"]) == {"0", "2"} and set(last["activation_stability_by_layer"]) == {"1"}
    assert {name: last[name] for name in trainer_module.SUMMARY} == {n: summary[n] for n in trainer_module.SUMMARY}


def trainer_norm(trainer):
    return torch.cat([t.double().flatten() for t in trainer.model.initial_weights().values()]).norm().item()


def test_each_step_is_sgd_with_the_papers_schedule():
    """Against torch's own SGD and a two-pass float64 model, batches and rates written out here."""
    trainer = make(alpha=3.0, probes=(), momentum=0.9)
    trainer.fit(3)
    net = network().double()
    w0 = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), momentum=0.9)
    start = network().double()
    batches = make(alpha=3.0, probes=()).train
    for epoch in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + epoch / 3)
        for inputs, y in batches.epoch(8, 0, epoch):
            h = net(inputs.double()) - start(inputs.double()).detach()
            loss = (3 * h - torch.nn.functional.one_hot(y, 3)).square().mean() / 9
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for theta, p, p0 in zip(trainer.model.theta.values(), net.parameters(), w0, strict=True):
        torch.testing.assert_close(theta.detach().double(), 3 * (p.detach() - p0), rtol=1e-4, atol=1e-6)


def test_evaluation_is_exact_over_uneven_batches():
    trainer = make()
    trainer.fit(1)
    x, y = points(23, 1)
    with torch.no_grad():
        outputs = trainer.model.eval()(x)
    for batch_size in (1, 7, 23, 100):
        loss, accuracy = evaluate(
            trainer.model, trainer.test, mse, lambda: autocast("float32", trainer.device), batch_size
        )
        assert loss == pytest.approx(mse(outputs, y).item(), rel=1e-5)
        assert accuracy == (outputs.argmax(1) == y).sum().item() / 23


def test_two_fits_are_one():
    once, twice = make(), make()
    once.fit(4)
    twice.fit(2)
    assert twice.fit(4)["epochs"] == 4
    torch.testing.assert_close(once.model.state_dict(), twice.model.state_dict(), rtol=0, atol=0)


def test_evaluates_every_k_epochs_and_at_both_ends(tmp_path):
    make(run_dir=tmp_path, evaluate_every=3).fit(5)
    assert [row["epoch"] for row in RunDirectory(tmp_path).metrics] == [0, 3, 5]


def test_a_scripts_run_can_be_loaded_and_reported(tmp_path):
    trainer = make(run_dir=tmp_path / "run")
    trainer.fit(1)
    with pytest.raises(ValueError, match="give its network"):
        lt.load_run(tmp_path / "run")
    model = lt.load_run(tmp_path / "run", network(seed=5))
    torch.testing.assert_close(model.state_dict(), trainer.model.state_dict(), rtol=0, atol=0)
    write_report([tmp_path], tmp_path / "report")
    assert "| 10 |" in (tmp_path / "report" / "report.md").read_text()


def test_divergence_is_a_result(tmp_path):
    trainer = make(run_dir=tmp_path, lr=1e20)
    summary = trainer.fit(5)
    assert summary["status"] == "diverged" and summary["epochs"] < 5
    assert summary["train_accuracy"] == 21 / 61  # the last good row, of epoch 0
    assert all(math.isfinite(row["train_loss"]) for row in RunDirectory(tmp_path).metrics)


def test_reads_the_device_at_most_every_200_steps(monkeypatch):
    """Readings of the accumulated loss: one an epoch and one every READ_EVERY steps."""
    trainer = make(batch_size=1, probes=())
    readings = []
    check = trainer.is_finite
    monkeypatch.setattr(fit, "READ_EVERY", 20)
    monkeypatch.setattr(trainer, "is_finite", lambda: readings.append(trainer.step) or check())
    trainer.fit(1)
    assert readings == [20, 40, 60, 61]


@pytest.mark.parametrize("loss", ("mse", "cross_entropy", lambda outputs, y: (outputs.sum(1) - y).square().mean()))
def test_losses(loss):
    first = make(loss=loss, probes=())
    start = first.fit(1)["train_loss"]
    assert first.fit(6)["train_loss"] < start


def test_regression_has_no_accuracy():
    x, _ = points(20)
    data = (x, x[:, :3] * 0.5)
    trainer = lt.Trainer(lt.CenteredModel(network(), 10.0), data, data, lr=0.05, batch_size=7, probe_size=3)
    summary = trainer.fit(3)
    assert summary["train_accuracy"] is None and summary["train_loss"] > 0


def test_accepts_datasets_and_linearized_models(tmp_path):
    trainer = lt.Trainer(
        lt.linearize(network()), TensorDataset(*points(20)), TensorDataset(*points(10, 1)), lr=0.1, run_dir=tmp_path
    )
    summary = trainer.fit(2)
    assert summary["alpha"] == "inf" and summary["displacement"] == 0 and summary["activation_stability"] == 1
    centered = lt.Trainer(lt.CenteredModel(network(), math.inf), points(20), points(10, 1), lr=0.1)
    assert centered.fit(2)["train_loss"] == pytest.approx(summary["train_loss"], rel=1e-5)


def test_bfloat16_autocast_and_float64():
    assert make(precision="bf16", probes=()).fit(3)["train_accuracy"] > 0.8
    x, y = points(61)
    model = lt.CenteredModel(network().double(), 10.0)
    assert lt.Trainer(model, (x, y), (x, y), lr=0.1, precision="float64", probes=()).fit(2)["status"] == "finished"


def test_tensorboard_shows_one_row_a_run(tmp_path):
    summary = make(run_dir=tmp_path).fit(2)
    (session,) = (tmp_path / "tensorboard").iterdir()
    assert session.name == "alpha=10 seed=0"
    events = EventAccumulator(str(session)).Reload()
    assert [e.step for e in events.Scalars("accuracy/test")] == [0, 1, 2]
    assert events.Scalars("accuracy/test")[-1].value == pytest.approx(summary["test_accuracy"])
    plugins = events.summary_metadata
    assert {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"} <= set(plugins)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be positive"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"evaluate_every": 0.5}, "evaluate_every must be a positive integer"),
        ({"beta": -1.0}, r"beta must be in \[0, inf\)"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"seed": None}, "seed must be a non-negative integer"),
        ({"loss": nn.MSELoss}, "the loss fails on outputs"),
        ({"lr": math.nan}, "lr must be positive"),
        ({"loss": "hinge"}, "unknown loss 'hinge'.*mse"),
        ({"precision": "float16"}, "unknown precision.*bf16"),
        ({"precision": "tf32"}, "tf32 exists on CUDA"),
        ({"precision": "float64"}, "in torch.float32.*float64.*double"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


class OddInTraining(nn.Linear):
    def forward(self, x):
        return torch.lgamma(super().forward(x)) if self.training else super().forward(x)


def test_an_operator_without_rule_in_training_alone_is_found_before_anything_is_written(tmp_path):
    model = lt.CenteredModel(OddInTraining(6, 3), 10.0)
    with pytest.raises(lt.UnsupportedOperator, match="lgamma"):
        lt.Trainer(model, points(20), points(10), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plain_module_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match="CenteredModel"):
        lt.Trainer(network(), points(20), points(10))


def test_a_run_directory_begun_anew_has_the_new_configuration(tmp_path):
    make(alpha=1.0, run_dir=tmp_path).fit(1)
    make(alpha=1000.0, run_dir=tmp_path).fit(1)
    assert RunDirectory(tmp_path).config["alpha"] == 1000.0
    assert len(RunDirectory(tmp_path).metrics) == 2


def test_resuming_on_other_data_is_refused(tmp_path):
    make(run_dir=tmp_path).fit(1)
    model = lt.CenteredModel(network(), 10.0)
    other = lt.Trainer(model, points(61, 7), points(23, 1), lr=0.1, batch_size=8, run_dir=tmp_path)
    with pytest.raises(ValueError, match="another configuration .train"):
        other.resume()


def test_resuming_another_runs_checkpoint_keeps_the_settings_asked_for(tmp_path):
    make(run_dir=tmp_path / "one", momentum=0.9).fit(1)
    trainer = make(run_dir=tmp_path / "two", momentum=0.0)
    assert trainer.resume(tmp_path / "one" / "checkpoints" / "last.pt")
    trainer.fit(2)
    assert trainer.optimizer.param_groups[0]["momentum"] == 0.0


def test_outputs_must_fit_the_labels():
    x, _ = points(12)
    with pytest.raises(ValueError, match="5 classes.*5 outputs"):
        lt.Trainer(lt.CenteredModel(network(), 1.0), (x, torch.arange(12) % 5), (x, torch.arange(12) % 5))


def test_learning_rate():
    assert [learning_rate(2.0, 0.5, t) for t in (0, 2, 4)] == [2.0, 1.0, pytest.approx(2 / 3)]
