"""Several trainers at once: each ends as it would alone."""

import copy
import functools
import os
import signal
import time
import weakref

import pytest
import torch

import lazytorch as lt
from lazytorch.data import DeviceData
from lazytorch.runs import RunDirectory
from lazytorch.training import KernelDrift, fit_together, loop, step
from lazytorch.training.probes import ntk

from .problems import (
    IMAGES,
    TRAIN,
    assert_same,
    make,
    make_convolutional,
    network,
    without_times,
)

ALPHAS = (1.0, 100.0, float("inf"))


@functools.cache
def alone(alpha, lr=0.1):
    """The trainer and its summary after two epochs alone."""
    trainer = make_convolutional(alpha, lr=lr)
    return trainer, without_times([trainer.fit(2)])


def test_together_is_alone_at_every_alpha_and_learning_rate():
    """Bit for bit: alphas and learning rates differ, the pass at w_0 is shared."""
    settings = [(alpha, 0.1) for alpha in ALPHAS] + [(100.0, 0.02)]
    together = [make_convolutional(alpha, lr=lr) for alpha, lr in settings]
    summaries = fit_together(together, 2)
    for trainer, summary, (alpha, lr) in zip(together, summaries, settings, strict=True):
        other, expected = alone(alpha, lr)
        assert without_times([summary]) == expected
        assert_same(trainer.model.state_dict(), other.model.state_dict())
        rows = [without_times(one.member.state.rows) for one in (trainer, other)]
        assert rows[0] == rows[1] and len(rows[0]) == 3


def test_those_behind_catch_up(tmp_path):
    make_convolutional(1.0, tmp_path / "1.0").fit(1)
    together = [make_convolutional(alpha, tmp_path / str(alpha)) for alpha in ALPHAS]
    assert [one.resume() for one in together] == [True, False, False]
    for alpha, summary in zip(ALPHAS, fit_together(together, 2), strict=True):
        assert without_times([summary]) == alone(alpha)[1]


@pytest.mark.parametrize("read_every", (2, 200))
def test_one_that_diverges_leaves_the_others(tmp_path, monkeypatch, read_every):
    monkeypatch.setattr(loop, "READ_EVERY", read_every)
    wild = make_convolutional(1.0, tmp_path / "wild", lr=1e30)
    calm = [make_convolutional(alpha) for alpha in ALPHAS[1:]]
    summaries = fit_together([wild, *calm], 2)
    assert [summary["status"] for summary in summaries] == ["diverged", "finished", "finished"]
    for one, summary in zip(calm, summaries[1:], strict=True):
        assert without_times([summary]) == alone(one.model.alpha)[1]


def test_trainers_part_afterwards():
    first, second = (make_convolutional(alpha) for alpha in (1.0, 100.0))
    fit_together([first, second], 1)
    before = copy.deepcopy(second.model.state_dict())
    summary = first.fit(2)
    assert_same(second.model.state_dict(), before)
    assert without_times([summary]) == alone(1.0)[1]


def test_trainers_part_after_an_error_too():
    def failing(model):
        if model.theta_norm() > 0:
            raise ZeroDivisionError
        return {}

    first, second = make_convolutional(1.0, probes=[failing]), make_convolutional(100.0)
    with pytest.raises(ZeroDivisionError):
        fit_together([first, second], 1)
    before = copy.deepcopy(second.model.state_dict())
    first.model(IMAGES.head(8)[0])  # updates w_0's running statistics
    assert_same(second.model.state_dict(), before)


def ending_at(epoch):
    """A probe that fails in that epoch."""
    calls = []

    def probe(model):
        calls.append(model)
        if len(calls) > epoch:
            raise ZeroDivisionError("this member's own")
        return {}

    return probe


def test_an_error_of_one_is_its_own(tmp_path):
    """In a probe, after an epoch; the others end as they do alone, with batch norm and dropout."""
    together = [make_convolutional(alpha, tmp_path / str(alpha)) for alpha in ALPHAS]
    together[1].member.probes.append(ending_at(1))
    with pytest.raises(ZeroDivisionError, match="this member's own"):
        fit_together(together, 2)
    for trainer in (together[0], together[2]):
        assert without_times([trainer.member.summary]) == alone(trainer.model.alpha)[1]
    broken = RunDirectory(tmp_path / str(ALPHAS[1])).summary
    assert broken["status"] == "failed" and broken["error"] == "ZeroDivisionError: this member's own"


@pytest.mark.parametrize("place", ("step", "evaluation"))
def test_an_error_in_the_model_of_one_leaves_the_others(place):
    """In the middle of a batch, once the others have taken part of what is computed at w_0."""
    together = [make_convolutional(alpha, probes=()) for alpha in ALPHAS]

    def fail(module, _):
        if module.training == (place == "step") and module.theta_norm() > 0:
            raise ZeroDivisionError

    together[1].model.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        fit_together(together, 2)
    for trainer in (together[0], together[2]):
        single = make_convolutional(trainer.model.alpha, probes=())
        assert without_times([trainer.member.summary]) == without_times([single.fit(2)])
        assert_same(trainer.model.state_dict(), single.model.state_dict())


def test_hooks_on_a_model_are_called_in_company():
    calls = []
    together = [make_convolutional(alpha, probes=()) for alpha in ALPHAS]
    together[0].model.register_forward_hook(lambda *_: calls.append(1))
    fit_together(together, 1)
    single, counted = make_convolutional(ALPHAS[0], probes=()), []
    single.model.register_forward_hook(lambda *_: counted.append(1))
    single.fit(1)
    assert calls == counted and calls


def test_each_has_its_own_precision():
    """One in bfloat16 and one in float32, of one network and one data set, in either order."""
    train = DeviceData(*TRAIN)
    for order in (("bf16", "float32"), ("float32", "bf16")):
        together = [make(train=train, precision=precision, probes=()) for precision in order]
        fit_together(together, 2)
        for trainer, precision in zip(together, order, strict=True):
            alone = make(train=train, precision=precision, probes=())
            alone.fit(2)
            assert_same(trainer.model.state_dict(), alone.model.state_dict())
    assert not torch.equal(together[0].model.theta["0.weight"], together[1].model.theta["0.weight"])


def test_each_computes_in_its_own_matmul_precision(monkeypatch):
    """What the device would be told: a CUDA device has TF32, the CPU is asked in its place."""
    from lazytorch.training import precision

    monkeypatch.setattr(precision, "has_tf32", lambda device: True)
    backend = torch.backends.cuda.matmul
    name = "fp32_precision" if hasattr(backend, "fp32_precision") else "allow_tf32"
    before, seen = getattr(backend, name), {}

    def losses(of):
        def loss(outputs, y):
            seen.setdefault(of, set()).add(getattr(backend, name))
            return outputs.square().mean()

        return loss

    train = DeviceData(*TRAIN)
    trainers = [make(train=train, loss=losses(kind), precision=kind, probes=()) for kind in ("tf32", "float32")]
    seen.clear()  # what setting up has seen
    fit_together(trainers, 1)
    assert seen == {"tf32": {"tf32" if "fp32" in name else True}, "float32": {"ieee" if "fp32" in name else False}}
    assert getattr(backend, name) == before


def test_each_has_its_own_choice_of_kernels(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    seen = {}

    def losses(of):
        def loss(outputs, y):
            seen.setdefault(of, set()).add(torch.backends.cudnn.benchmark)
            return outputs.square().mean()

        return loss

    train = DeviceData(*TRAIN)
    trainers = [make(train=train, loss=losses(on), cudnn_benchmark=on, probes=()) for on in (True, False)]
    seen.clear()
    fit_together(trainers, 1)
    assert seen == {True: {True}, False: {False}} and torch.backends.cudnn.benchmark


def test_what_has_failed_leaves_room_for_the_others(monkeypatch):
    """What its pass has computed, and what was computed at w_0 beside it, is not kept by its error's traceback."""
    computed, left, alive = [], [], []
    own = lt.CenteredModel.forward_recorded

    def forward_recorded(model, record, *args):
        output = own(model, record, *args)
        computed[:] = [weakref.ref(t) for t in (output, *record.values()) if isinstance(t, torch.Tensor)]
        return output

    def failing(outputs, y):
        if computed:
            left.extend(computed)
            raise ZeroDivisionError
        return outputs.square().mean()

    def watching(outputs, y):
        alive.append(sum(each() is not None for each in left))
        return outputs.square().mean()

    train = DeviceData(*TRAIN)
    losses = zip(ALPHAS, (watching, failing, watching), strict=True)
    trainers = [make(alpha, train=train, loss=loss, probes=()) for alpha, loss in losses]
    monkeypatch.setattr(lt.CenteredModel, "forward_recorded", forward_recorded)
    with pytest.raises(ZeroDivisionError):
        fit_together(trainers, 1)
    assert left and alive[-1] == 0


class Scaled(torch.nn.Linear):
    """A network whose function its weights and modules do not tell."""

    def __init__(self, scale):
        torch.manual_seed(0)
        super().__init__(6, 3)
        self.scale = scale

    def forward(self, x):
        return super().forward(x) * self.scale


def test_networks_of_equal_weights_and_unequal_functions_share_nothing():
    train = DeviceData(*TRAIN)
    together = [make(net=Scaled(scale), train=train, probes=()) for scale in (1.0, 3.0)]
    fit_together(together, 1)
    for trainer, scale in zip(together, (1.0, 3.0), strict=True):
        alone = make(net=Scaled(scale), train=train, probes=())
        alone.fit(1)
        assert_same(trainer.model.state_dict(), alone.model.state_dict())


def test_the_kernel_at_w0_is_computed_once_for_all(monkeypatch):
    """One probe for all: one kernel at w_0, and one at w for each evaluation after the first at finite alpha."""
    calls = []
    monkeypatch.setattr(ntk, "empirical_ntk", lambda *a, **k: calls.append(1) or lt.empirical_ntk(*a, **k))
    train, probe = DeviceData(*TRAIN), KernelDrift(TRAIN[0][:4])
    summaries = fit_together([make(alpha, train=train, probes=[probe]) for alpha in ALPHAS], 2)
    assert len(calls) == 1 + 2 * 2
    assert [summary["ntk_drift"] > 0 for summary in summaries] == [True, True, False]


def test_shares_of_the_time_add_up_to_it():
    trainers = [make_convolutional(alpha, probes=()) for alpha in ALPHAS]

    def slow(model):
        time.sleep(0.05)
        return {}

    for trainer in trainers:
        trainer.member.probes.append(slow)
    started = time.monotonic()
    summaries = fit_together(trainers, 2)
    elapsed = time.monotonic() - started
    shares = [summary["seconds"] for summary in summaries]
    assert 0.95 * elapsed < sum(shares) <= elapsed
    assert max(shares) < 1.2 * min(shares)
    assert sum(summary["seconds"] for summary in fit_together(trainers, 2)) < elapsed + 0.1  # nothing was left to do


def test_seconds_go_on_after_a_second_fit():
    trainer = make()
    first = trainer.fit(1)["seconds"]
    started = time.monotonic()
    assert trainer.fit(3)["seconds"] - first <= time.monotonic() - started


def test_one_model_cannot_be_trained_twice_at_once():
    model = lt.CenteredModel(network(), 1.0)
    trainers = [lt.Trainer(model, TRAIN, TRAIN, lr=lr, probes=()) for lr in (0.1, 0.2)]
    with pytest.raises(ValueError, match="one model.*anew"):
        fit_together(trainers, 1)


def test_asked_to_stop_all_checkpoint_and_go_on(tmp_path, monkeypatch):
    together = [make_convolutional(alpha, tmp_path / str(alpha)) for alpha in ALPHAS]
    take = step._step

    def interrupted(member, outputs, y):
        if member is together[1].member and member.position == (1, 3):
            os.kill(os.getpid(), signal.SIGINT)
        take(member, outputs, y)

    monkeypatch.setattr(step, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt) as raised:
        fit_together(together, 2)
    assert raised.value.args == (signal.SIGINT,)
    assert [RunDirectory(tmp_path / str(alpha)).summary["status"] for alpha in ALPHAS] == ["interrupted"] * 3
    again = [make_convolutional(alpha, tmp_path / str(alpha)) for alpha in ALPHAS]
    assert all(one.resume() for one in again) and {one.member.position for one in again} == {(1, 4)}
    for alpha, summary in zip(ALPHAS, fit_together(again, 2), strict=True):
        assert without_times([summary]) == alone(alpha)[1]


def test_each_keeps_its_own_records(tmp_path):
    trainers = [make(alpha, tmp_path / str(alpha), probes=()) for alpha in ALPHAS]
    for alpha, summary in zip(ALPHAS, fit_together(trainers, 1), strict=True):
        run = RunDirectory(tmp_path / str(alpha))
        assert run.summary == summary and run.config["alpha"] == alpha
        assert [row["epoch"] for row in run.metrics] == [0, 1] and run.checkpoint().exists()
        assert {row["alpha"] for row in run.metrics} == {"inf" if alpha == float("inf") else alpha}


def test_a_directory_that_is_refused_leaves_those_of_the_others_alone(tmp_path):
    make(run_dir=tmp_path / "there").fit(1)
    with pytest.raises(ValueError, match="resume"):
        fit_together([make(run_dir=tmp_path / "new"), make(run_dir=tmp_path / "there")], 1)
    assert not RunDirectory(tmp_path / "new").exists
