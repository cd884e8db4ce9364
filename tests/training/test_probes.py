"""Probes: what theory says of them, that they change nothing, and where their measurements arrive."""

import gc
import itertools
import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import lazytorch as lt
from lazytorch.quantities import Quantity
from lazytorch.runs import RunDirectory
from lazytorch.training import (
    ActivationStability,
    KernelDrift,
    LinearizationError,
    Probe,
    Unsuitable,
)
from lazytorch.training.probes import STANDARD, find_probe

from .problems import IMAGES, TEST, assert_same, make, make_convolutional, network, without_times


def scaled(net, alpha):
    model = lt.CenteredModel(net, alpha)
    torch.manual_seed(1)
    for theta in model.theta.values():
        nn.init.normal_(theta)
    return model


def test_laziness_grows_with_alpha():
    """Drift and linearization error are O(1 / alpha), on a smooth network."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    x = torch.randn(5, 4)
    measured = []
    for alpha in (1e3, 1e4, 1e5, 1e6, math.inf):
        row = {}
        for probe in (KernelDrift(x), LinearizationError(x)):
            row |= probe(scaled(net, alpha))
        measured.append(row)
    *finite, limit = measured
    assert limit == {"ntk_drift": 0, "kernel_distance": 0, "linearization_error": 0}
    for coarse, fine in itertools.pairwise(finite):
        assert coarse["ntk_drift"] / fine["ntk_drift"] == pytest.approx(10, rel=0.02)
        assert coarse["linearization_error"] / fine["linearization_error"] == pytest.approx(10, rel=0.02)
        assert coarse["kernel_distance"] / fine["kernel_distance"] == pytest.approx(100, rel=0.1)


def test_probes_compare_with_w0_even_when_theta_has_moved_before():
    model, (x, _) = scaled(network(), 1.0), TEST
    drift, stability = KernelDrift(x[:4]), ActivationStability(x[:4])
    assert drift(model)["ntk_drift"] > 0 and stability(model)["activation_stability"] < 1


def test_batch_norm_is_lazy_at_infinite_alpha_too():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    x = torch.randn(6, 1, 4, 4)
    model = scaled(net, math.inf).train()
    drift, stability = KernelDrift(x), ActivationStability(x)
    drift(model)
    model(x)  # the running statistics of w_0 move
    assert drift(model)["ntk_drift"] == 0 and stability(model)["activation_stability"] == 1


def test_one_kernel_probe_for_different_networks_has_the_kernel_of_each():
    """Equal weights do not make equal networks."""
    x = TEST[0][:4]
    models = [scaled(nn.Sequential(network()[0], kind(), network()[2]), 3.0) for kind in (nn.Tanh, nn.GELU)]
    drift, error = KernelDrift(x), LinearizationError(x)
    for model in (*models, *models):
        assert drift(model) == KernelDrift(x)(model) and error(model) == LinearizationError(x)(model)


class Meddling(Probe):
    """Does what no probe should, at every evaluation."""

    def __call__(self, model):
        torch.manual_seed(123)
        torch.rand(7)
        x, _ = IMAGES.head(9)
        model(x)
        model.train()
        model(x)  # updates the running statistics, at w_0 and at w
        model.structure[4].eval()
        with torch.enable_grad():
            model(x).sum().backward()
        return {"meddled": model(x).sum()}


@pytest.mark.parametrize("alpha", (1.0, math.inf))
def test_a_probe_that_runs_the_model_draws_numbers_and_changes_modes_changes_nothing(tmp_path, alpha):
    standard = ["displacement", "ntk", "activations", "linearization"]
    alone = make_convolutional(alpha, tmp_path / "alone", probes=standard)
    beside = make_convolutional(alpha, tmp_path / "beside", probes=[Meddling, *standard])
    for trainer in (alone, beside):
        trainer.fit(2)
    assert_same(alone.model.state_dict(), beside.model.state_dict())
    modes = [[part.training for part in trainer.model.structure.modules()] for trainer in (alone, beside)]
    assert modes[0] == modes[1]
    rows = [without_times(RunDirectory(tmp_path / name).metrics) for name in ("alone", "beside")]
    assert all(row.pop("meddled") for row in rows[1][1:]) and rows[1][0].pop("meddled") == 0
    assert rows[0] == rows[1]


def test_probes_are_called_in_evaluation_mode_without_gradients():
    seen = []

    def look(model):
        modes = {part.training for part in (*model.modules(), *model.structure.modules())}
        seen.append((modes, torch.is_grad_enabled()))
        return {}

    make_convolutional(1.0, probes=[look]).fit(1)
    assert seen == [({False}, False)] * 2


def kernel_norm(model):
    """A function of the model."""
    return {"parameters": torch.tensor([3.0]), "numpy": np.float32(0.5), "flag": np.bool_(True), "none": None}


class Margin(Probe):
    quantities = (
        Quantity("margin", "the smallest output's size", label="margin $m$", log=True, tag="mine/margin"),
        Quantity("margin_by_class", by_layer=True),
    )

    def __call__(self, model):
        outputs = model(self.x).abs()
        return {"margin": outputs.min() + 1e-3, "margin_by_class": {"first": outputs[0, 0], "last": outputs[0, 2]}}


def test_ones_own_probes_reach_every_record(tmp_path):
    summary = make(probes=[kernel_norm, Margin, "displacement"], run_dir=tmp_path).fit(2)
    last = {"parameters": 3.0, "numpy": 0.5, "flag": True, "none": None}
    assert {name: summary[name] for name in last} == last and summary["margin"] >= 1e-3
    assert "margin_by_class" not in summary and "ntk_drift" in summary and summary["ntk_drift"] is None
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    rows = RunDirectory(tmp_path).metrics
    assert len(rows) == 3 and all(last.items() <= row.items() for row in rows)
    assert rows[-1]["margin"] == summary["margin"] and set(rows[-1]["margin_by_class"]) == {"first", "last"}
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for tag in ("probes/parameters", "mine/margin", "mine_log10/margin", "probes/margin_by_class/first"):
        assert [event.step for event in events.Scalars(tag)] == [0, 1, 2]
    assert events.Scalars("mine_log10/margin")[-1].value == pytest.approx(math.log10(summary["margin"]), rel=1e-5)
    declared = RunDirectory(tmp_path).report["quantities"]
    assert {name: Quantity(**fields) for name, fields in declared.items()} == {q.name: q for q in Margin.quantities}
    config = RunDirectory(tmp_path).config
    assert config["probes"] == ["kernel_norm", "Margin", "displacement"]
    # and a checkpoint, which holds plain numbers alone
    other = make(probes=[kernel_norm, Margin, "displacement"], run_dir=tmp_path)
    assert other.resume() and other.member.state.rows == rows


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (3.0, TypeError, "returned a float: return {name: number}"),
        ({"a": "word"}, TypeError, "gives a as a str: return numbers"),
        ({"a": torch.zeros(2)}, TypeError, "gives a as a Tensor"),
        ({"a": 1j}, TypeError, "gives a as a complex"),
        ({"a": {"layer": {"deeper": 1}}}, TypeError, r"gives a\['layer'\] as a dict"),
        ({3: 1.0}, TypeError, "the name 3: make it a string"),
        ({"test_loss": 1.0}, ValueError, "gives test_loss, which is there already"),
        ({"status": 1.0}, ValueError, "gives status, which is there already"),
        ({"displacement": 1.0}, ValueError, "gives displacement, which is there already"),
    ],
)
def test_nonsense_is_refused_before_anything_is_written(tmp_path, values, error, message):
    def nonsense(model):
        return values

    with pytest.raises(error, match=f"the probe nonsense .*{message}|the probe nonsense {message}"):
        make(probes=["displacement", nonsense], run_dir=tmp_path / "run").fit(1)
    assert not RunDirectory(tmp_path / "run").exists and not list((tmp_path / "run").glob("[!.]*"))


@pytest.mark.parametrize("probes", ("ntk", [3], {"ntk"}))
def test_what_is_no_list_of_probes_is_refused(probes):
    with pytest.raises(TypeError, match="give a"):
        make(probes=probes)


def test_a_probe_is_called_by_the_name_of_its_file():
    assert [find_probe(name).name for name in STANDARD] == list(STANDARD)


def test_a_probe_that_does_not_fit_says_why_and_the_run_goes_on(tmp_path, caplog):
    """Batch norm without running statistics mixes the examples: no tangent kernel."""
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, track_running_stats=False), nn.Tanh(), nn.Linear(8, 3))
    summary = make(net=net, run_dir=tmp_path).fit(2)
    assert summary["status"] == "finished" and summary["ntk_drift"] is None and summary["displacement"] > 0
    assert summary["linearization_error"] > 0
    reasons = RunDirectory(tmp_path).summary["not_measured"]
    assert set(reasons) == {"ntk", "activations"}
    assert "no tangent kernel" in reasons["ntk"] and reasons["activations"] == "the network has no ReLU"
    assert len(RunDirectory(tmp_path).metrics) == 3
    assert sum("ntk is not measured" in record.message for record in caplog.records) == 1


def test_a_probe_may_become_unsuitable_on_the_way():
    def early(model):
        if model.theta_norm() > 0:
            raise Unsuitable("it has moved")
        return {"early": 1.0}

    trainer = make(probes=[early])
    summary = trainer.fit(2)
    assert summary["not_measured"] == {"early": "it has moved"} and "early" not in summary
    assert trainer.member.state.rows[0]["early"] == 1.0


class Single(nn.Linear):
    """Computes in float32 whatever it is in."""

    def forward(self, x):
        return torch.relu(nn.functional.linear(x.float(), self.weight, self.bias))


def test_a_network_that_refuses_float64_is_trained_and_says_what_cannot_be_measured(tmp_path):
    summary = make(net=nn.Sequential(Single(6, 3)), run_dir=tmp_path).fit(1)
    assert summary["status"] == "finished" and 0 < summary["activation_stability"] <= 1
    assert set(summary["not_measured"]) == {"ntk", "linearization"}


def test_the_probes_keep_no_copy_of_the_weights():
    """While training, as many tensors of the weights' size are alive as before the first measurement at w."""
    size = 64 * 64

    def alive():
        gc.collect()
        tensors = [one for one in gc.get_objects() if type(one) in (torch.Tensor, nn.Parameter)]
        return Counter(t.dtype for t in tensors if t.numel() >= size and t.is_floating_point() and not t.is_meta)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    trainer = make(net=net, probe_size=2, batch_size=31)
    before, seen = alive(), []

    def loss(outputs, y):
        if trainer.model.training and trainer.member.position in ((0, 1), (1, 1)):  # momentum is there by now
            seen.append(alive() - before)
        return outputs.square().mean() + outputs.sum()

    trainer.member.objective = loss
    trainer.fit(2)
    assert trainer.member.state.last["ntk_drift"] > 0 and trainer.member.state.last["linearization_error"] > 0
    assert len(seen) == 2 and seen[0] == seen[1] and torch.float64 not in seen[0]
