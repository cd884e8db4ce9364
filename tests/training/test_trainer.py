"""The trainer as a library class."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import lazytorch as lt
from lazytorch.data import DeviceData
from lazytorch.runs import RunDirectory
from lazytorch.training import Probe, loop
from lazytorch.training.settings import Settings

from .problems import TEST, TRAIN, assert_same, make, network, points


def test_learns_and_summarises(tmp_path):
    trainer = make(run_dir=tmp_path / "run")
    summary = trainer.fit(4)
    assert summary["status"] == "finished" and summary["epochs"] == trainer.epoch == 4 and summary["alpha"] == 10.0
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
    norm = torch.cat([t.double().flatten() for t in trainer.model.initial_weights().values()]).norm().item()
    assert last["theta_norm"] / 10 == pytest.approx(last["displacement"] * norm)
    assert set(last["displacement_by_module"]) == {"0", "2"} and set(last["activation_stability_by_layer"]) == {"1"}
    for name in ("train_loss", "test_accuracy", "ntk_drift", "kernel_distance", "linearization_error", "seconds"):
        assert summary[name] >= last[name] if name == "seconds" else summary[name] == last[name]
    assert "lazy" in summary["verdict"] and "theta_norm" not in summary


def test_each_step_is_sgd_with_the_papers_schedule():
    """Against torch's own SGD and a two-pass float64 model, batches and rates written out here."""
    trainer = make(alpha=3.0, probes=(), momentum=0.9)
    trainer.fit(3)
    net, start = network().double(), network().double()
    w0 = [p.detach().clone() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), momentum=0.9)
    for epoch in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 / (1 + epoch / 3)
        for inputs, y in DeviceData(*TRAIN).epoch(8, 0, epoch):
            h = net(inputs.double()) - start(inputs.double()).detach()
            loss = (3 * h - nn.functional.one_hot(y, 3)).square().mean() / 9
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for theta, p, p0 in zip(trainer.model.theta.values(), net.parameters(), w0, strict=True):
        torch.testing.assert_close(theta.detach().double(), 3 * (p.detach() - p0), rtol=1e-4, atol=1e-6)


def test_learning_rate():
    settings = Settings(lr=2.0, beta=0.5)
    assert [settings.learning_rate(t) for t in (0, 2, 4)] == [2.0, 1.0, pytest.approx(2 / 3)]


def test_two_fits_are_one():
    once, twice = make(), make()
    once.fit(4)
    twice.fit(2)
    assert twice.fit(4)["epochs"] == 4
    assert_same(once.model.state_dict(), twice.model.state_dict())
    assert twice.fit(3)["status"] == "finished"  # there is nothing left to do
    assert_same(once.model.state_dict(), twice.model.state_dict())


def test_training_leaves_the_generators_of_others_alone():
    net = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    trainer = make(net=net)
    assert torch.equal(torch.get_rng_state(), before)
    trainer.fit(1)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluates_every_k_epochs_and_at_both_ends(tmp_path):
    make(run_dir=tmp_path, evaluate_every=3).fit(5)
    assert [row["epoch"] for row in RunDirectory(tmp_path).metrics] == [0, 3, 5]


def test_an_end_that_was_not_due_is_measured_when_it_becomes_one():
    trainer = make(evaluate_every=2)
    trainer.fit(4)
    trainer.member.state.rows.pop()  # as if training to more epochs had been interrupted before a measurement
    assert trainer.fit(4)["epochs"] == trainer.member.state.last["epoch"] == 4


@pytest.mark.parametrize("every", (1, 2))
def test_nothing_is_measured_twice_at_the_last_epoch(every):
    calls = []

    class Counting(Probe):
        def __call__(self, model):
            calls.append("probe")
            return {}

        def watching(self, model):
            calls.append("test set")
            return super().watching(model)

    trainer = make(probes=[Counting], evaluate_every=every)
    trainer.fit(2)
    trainer.fit(2)
    assert calls == ["test set", "probe"] * (1 + 2 // every)


def test_divergence_is_a_result(tmp_path):
    trainer = make(run_dir=tmp_path, lr=1e20)
    summary = trainer.fit(5)
    assert summary["status"] == summary["verdict"] == "diverged" and summary["epochs"] < 5
    assert summary["train_accuracy"] == 21 / 61  # the last good row, of epoch 0
    assert all(math.isfinite(row["train_loss"]) for row in RunDirectory(tmp_path).metrics)
    assert trainer.fit(5)["status"] == "diverged"  # and stays one


def test_a_divergence_that_the_evaluation_sees_is_one():
    """The last step of the epoch blows up: no training loss has seen it."""
    trainer = make(batch_size=61, lr=1e30, momentum=0.0)
    assert trainer.fit(1)["status"] == "diverged"


def test_reads_the_device_at_most_every_200_steps(monkeypatch):
    """Readings of the accumulated loss: one an epoch and one every READ_EVERY steps."""
    trainer, readings = make(batch_size=1, probes=()), []
    finite = loop.Loop._finite
    monkeypatch.setattr(loop, "READ_EVERY", 20)
    monkeypatch.setattr(
        loop.Loop, "_finite", lambda self, group: readings.append(group[0].state.step) or finite(self, group)
    )
    trainer.fit(1)
    assert readings == [20, 40, 60, 61]


@pytest.mark.parametrize("loss", ("mse", "cross_entropy", lambda outputs, y: (outputs.sum(1) - y).square().mean()))
def test_losses(loss):
    first = make(loss=loss, probes=())
    start = first.fit(1)["train_loss"]
    assert first.fit(6)["train_loss"] < start


def test_a_weighted_loss_whose_weights_have_a_type(tmp_path):
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]))
    assert make(loss=loss, probes=(), run_dir=tmp_path).fit(1)["status"] == "finished"
    assert RunDirectory(tmp_path).config["loss"] == "CrossEntropyLoss"


def test_regression_has_no_accuracy(tmp_path):
    x, _ = points(20)
    data = (x, x[:, :3] * 0.5)
    trainer = make(train=data, test=data, lr=0.05, probe_size=3, run_dir=tmp_path)
    summary = trainer.fit(3)
    assert summary["train_accuracy"] is None and summary["train_loss"] > 0
    assert trainer.member.state.last["train_accuracy_running"] is None
    # The best checkpoint is that of the least loss on the test set, here the last.
    best = lt.load_run(tmp_path, network(), name="best")
    assert_same(best.state_dict(), trainer.model.state_dict())


def test_accepts_datasets_arrays_and_linearized_models(tmp_path):
    linear = lt.Trainer(
        lt.linearize(network()), TensorDataset(*points(20)), TensorDataset(*points(10, 1)), lr=0.1, run_dir=tmp_path
    )
    summary = linear.fit(2)
    assert summary["alpha"] == "inf" and summary["displacement"] == 0 and summary["activation_stability"] == 1
    arrays = [tuple(part.numpy() for part in points(*which)) for which in ((20,), (10, 1))]
    centered = lt.Trainer(lt.CenteredModel(network(), math.inf), *arrays, lr=0.1)
    assert centered.fit(2)["train_loss"] == pytest.approx(summary["train_loss"], rel=1e-5)


def test_an_uncentered_linearization_starts_at_the_network():
    trainer = lt.Trainer(lt.linearize(network(), centered=False), TRAIN, TEST, lr=0.1)
    trainer.fit(1)
    outputs = network()(TEST[0])
    expected = (outputs - nn.functional.one_hot(TEST[1], 3)).square().mean().item()
    assert trainer.member.state.rows[0]["test_loss"] == pytest.approx(expected)


def test_direct_differences_train_as_divided_ones():
    trained = []
    for difference in ("divided", "direct"):
        model = lt.CenteredModel(network().double(), 10.0, difference)
        data = [(x.double(), y) for x, y in (TRAIN, TEST)]
        trainer = lt.Trainer(model, *data, lr=0.1, batch_size=8, precision="float64")
        trained.append(trainer.fit(2))
        assert "linearization" in trainer.member.not_measured or difference == "divided"
    for name in ("train_loss", "test_loss", "displacement", "ntk_drift", "activation_stability"):
        assert trained[0][name] == pytest.approx(trained[1][name], rel=1e-9)


def test_bfloat16_autocast_and_float64():
    assert make(precision="bf16", probes=()).fit(3)["train_accuracy"] > 0.8
    model = lt.CenteredModel(network().double(), 10.0)
    assert lt.Trainer(model, TRAIN, TRAIN, lr=0.1, precision="float64", probes=()).fit(2)["status"] == "finished"


def test_numpys_numbers_are_numbers(tmp_path):
    options = {"lr": np.float64(0.1), "momentum": np.float32(0.5), "batch_size": np.int64(8), "seed": np.int64(0)}
    make(alpha=np.float64(10), run_dir=tmp_path, **options).fit(np.int64(1))
    other = make(run_dir=tmp_path, momentum=0.5)
    assert other.resume() and other.fit(2)["epochs"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be positive"),
        ({"batch_size": 0}, "batch_size must be a positive integer"),
        ({"evaluate_every": 0.5}, "evaluate_every must be a positive integer"),
        ({"beta": -1.0}, r"beta must be in \[0, inf\)"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\)"),
        ({"seed": None}, "seed must be a non-negative integer"),
        ({"probe_size": 0}, "probe_size must be a positive integer"),
        ({"loss": nn.MSELoss}, "the loss fails on outputs"),
        ({"loss": lambda outputs, y: outputs.detach().mean()}, "no gradient in the outputs"),
        ({"loss": lambda outputs, y: outputs.square()}, "one number is needed"),
        ({"lr": math.nan}, "lr must be positive"),
        ({"lr": 1e300}, "lr=1e\\+300 is more than torch.float32 holds"),
        ({"loss": "hinge"}, "unknown loss 'hinge'.*mse"),
        ({"precision": "float16"}, "unknown precision.*bf16"),
        ({"precision": "tf32"}, "tf32 exists on CUDA"),
        ({"precision": "float64"}, "in torch.float32.*float64.*double"),
        ({"probes": ["kernel"]}, "unknown probe 'kernel': choose from activations, displacement"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def with_value(tensor, value):
    tensor = tensor.clone().float()
    tensor[-1] = value
    return tensor


def spoilt(value):
    net = network()
    with torch.no_grad():
        net[2].bias[1] = value
    return net


def pixels(std):
    images = torch.arange(20 * 4, dtype=torch.uint8).reshape(20, 1, 2, 2)
    return DeviceData(images, torch.arange(20) % 3, mean=(0.5,), std=(std,))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train": (with_value(TRAIN[0], math.nan), TRAIN[1])}, "inputs hold a number that is not finite"),
        ({"test": (with_value(TEST[0], math.inf), TEST[1])}, "inputs hold a number that is not finite"),
        ({"train": (TRAIN[0], with_value(TRAIN[0][:, :3], math.nan))}, "labels hold a number that is not finite"),
        (
            {"train": pixels(1e-42), "test": pixels(1.0), "net": nn.Sequential(nn.Flatten(), nn.Linear(4, 3))},
            "normalised training inputs are not finite.*data.std",
        ),
        ({"net": spoilt(math.nan)}, "2.bias of the network is not finite at w_0"),
        ({"net": spoilt(3e38), "train": (3e38 * TRAIN[0].sign(), TRAIN[1])}, "outputs at w_0 are not finite"),
        ({"loss": lambda outputs, y: outputs.square().mean() / 0}, "the loss is not finite before the first step"),
    ],
)
def test_what_is_not_finite_before_the_first_step_is_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make(run_dir=tmp_path / "run", **options).fit(1)
    assert not RunDirectory(tmp_path / "run").exists


def normalised():
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def test_a_network_is_trained_in_training_mode_but_for_its_frozen_parts():
    """Evaluation mode of the whole was not meant for training; that of a part, in a network that trains, was."""
    for whole, frozen in ((True, False), (True, True), (False, True)):
        net = normalised().train(whole)
        if frozen:
            net[1].eval()
        trainer = make(net=net, batch_size=10 if whole and frozen else 8, probes=())
        trainer.fit(1)
        means = trainer.model.initial_buffers()["1.running_mean"]
        assert (means == 0).all() if whole and frozen else (means != 0).all()


def test_batch_norm_and_a_last_batch_of_one(tmp_path):
    """Refused where it cannot train, and there alone: 61 = 7 * 8 + 5, and 6 * 10 + 1."""
    for net in (normalised(), normalised().eval()):
        with pytest.raises(ValueError, match="batches of 10 of 61 .* batch of one.* batch norm '1'.*batch_size"):
            make(net=net, batch_size=10)
    assert make(net=normalised(), batch_size=8, probes=()).fit(1)["status"] == "finished"
    net = nn.Sequential(nn.Unflatten(1, (1, 2, 3)), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(6, 3))
    assert make(net=net, batch_size=10, probes=()).fit(1)["status"] == "finished"  # six pixels are several


class OddInTraining(nn.Linear):
    def forward(self, x):
        return torch.special.erfcx(super().forward(x)) if self.training else super().forward(x)


def test_an_operator_without_rule_in_training_alone_is_found_before_anything_is_written(tmp_path):
    with pytest.raises(lt.UnsupportedOperator, match="aten.special_erfcx"):
        make(net=OddInTraining(6, 3), run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plain_module_is_refused_with_the_remedy():
    with pytest.raises(TypeError, match="CenteredModel"):
        lt.Trainer(network(), points(20), points(10))


def test_outputs_must_fit_the_labels():
    x, _ = points(12)
    with pytest.raises(ValueError, match="5 classes.*5 outputs"):
        make(train=(x, torch.arange(12) % 5), test=(x, torch.arange(12) % 5))


def test_there_is_nothing_to_resume_without_a_directory():
    with pytest.raises(ValueError, match="nothing to resume: give the Trainer a run_dir"):
        make().resume()


@pytest.mark.parametrize("epochs", (0, 1.5, None, True))
def test_epochs_are_a_count(epochs):
    with pytest.raises(ValueError, match="epochs must be a positive integer"):
        make().fit(epochs)


def test_test_inputs_of_another_shape_are_named():
    x, y = TRAIN
    with pytest.raises(ValueError, match=r"training set have shape \(6,\), those to evaluate on \(2, 3\)"):
        make(test=(x.reshape(-1, 2, 3), y))


def test_floating_class_labels_are_named_before_the_loss_is_tried():
    x, y = TRAIN
    with pytest.raises(ValueError, match=r"labels.long\(\)"):
        make(train=(x, y.float()))
