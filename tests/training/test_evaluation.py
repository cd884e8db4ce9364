"""Evaluation over whole sets: exact, shared at w_0, and no more passes than needed."""

import math

import pytest
import torch

import lazytorch as lt
from lazytorch.data import DeviceData
from lazytorch.training import evaluation
from lazytorch.training.evaluation import evaluate
from lazytorch.training.objective import mse

from .problems import IMAGES, TEST, TEST_IMAGES, TRAIN, assert_same, convolutional, make, make_convolutional, network

ALPHAS = (1.0, 100.0, math.inf)


def moved(alpha):
    """A member in the midst of training, running statistics included."""
    trainer = make_convolutional(alpha, probes=())
    torch.manual_seed(3)
    with torch.no_grad():
        for theta in trainer.model.theta.values():
            theta.copy_(torch.randn_like(theta))
        trainer.model.train()
        trainer.model(IMAGES.head(16)[0])
    return trainer.member


@pytest.mark.parametrize("batch", (1, 7, 23, 500))
def test_is_exact_over_uneven_batches(monkeypatch, batch):
    trainer = make(probes=())
    trainer.fit(1)
    monkeypatch.setattr(evaluation, "BATCH", batch)
    ((loss, accuracy),) = evaluate([trainer.member], "test").values()
    with torch.no_grad():
        outputs = trainer.model.eval()(TEST[0])
    assert loss == pytest.approx(mse(outputs, TEST[1]).item(), rel=1e-5)
    assert accuracy == (outputs.argmax(1) == TEST[1]).sum().item() / 23


def test_several_models_are_evaluated_exactly_as_each_alone():
    """Batch norm is in evaluation mode for all, whatever mode each is in, and stays in that."""
    members = [moved(alpha) for alpha in ALPHAS]
    for member in members[1:]:
        member.model.share_start(members[0].model)
    before = [{name: t.clone() for name, t in member.model.state_dict().items()} for member in members]
    for part in ("train", "test"):
        alone = [next(iter(evaluate([moved(alpha)], part).values())) for alpha in ALPHAS]
        assert [*evaluate(members, part).values()] == alone
    for member, state in zip(members, before, strict=True):
        assert_same(member.model.state_dict(), state)
        assert all(module.training for module in member.model.structure.modules())


def test_members_with_test_sets_of_their_own_are_evaluated_on_them():
    members = [make(test=points, probes=()).member for points in (TEST, TRAIN)]
    assert [accuracy for _, accuracy in evaluate(members, "test").values()] == [8 / 23, 21 / 61]  # all outputs are 0


class Counting(torch.nn.Linear):
    """Counts the examples that it has seen."""

    seen = 0

    def forward(self, x):
        return torch.ops.lazytorch_test.counted_examples(super().forward(x))


@torch.library.custom_op("lazytorch_test::counted_examples", mutates_args=())
def counted_examples(x: torch.Tensor) -> torch.Tensor:
    Counting.seen += len(x)
    return x.clone()


counted_examples.register_fake(torch.empty_like)
lt.rule(torch.ops.lazytorch_test.counted_examples)(lambda epsilon, out, x: x.difference)


def counted(members, part):
    Counting.seen = 0
    evaluate(members, part)
    return Counting.seen


def test_outputs_at_theta_zero_are_known_without_a_pass():
    still, one = (make(net=Counting(6, 3), probes=()).member for _ in range(2))
    assert counted([still], "train") == counted([still, one], "test") == 0
    with torch.no_grad():
        one.model.theta["weight"][0, 0] = 1
    assert counted([one], "train") == 61
    loss, accuracy = evaluate([still], "train")[still]
    assert (loss, accuracy) == (pytest.approx(1 / 3), 21 / 61)


def test_several_models_share_the_pass_at_w0():
    net, test = Counting(6, 3), DeviceData(*TEST)
    members = [make(alpha, net=net, test=test, probes=()).member for alpha in ALPHAS]
    for member in members:
        with torch.no_grad():
            member.model.theta["bias"][0] = 1
    alone = sum(counted([member], "test") for member in members)
    assert (counted(members, "test"), alone) == (23, 69)


@pytest.mark.parametrize("precision", ("float64", "float32", "bf16"))
def test_runs_in_the_arithmetic_of_training(precision):
    """The model's outputs, called as in training, in the type of the data."""
    net = network().double() if precision == "float64" else network()
    trainer = make(net=net, precision=precision, probes=())
    trainer.fit(1)
    member = trainer.member
    ((loss, _),) = evaluate([member], "test").values()
    with torch.no_grad(), member.autocast():
        outputs = trainer.model.eval()(member.test.head(23)[0])
    assert outputs.dtype == {"float64": torch.float64, "float32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert loss == pytest.approx(mse(outputs.to(member.test.dtype), TEST[1]).item(), rel=1e-12)


def test_activation_stability_is_that_of_all_test_inputs():
    """As ``lt.activation_stability`` has it in float64, from the passes that evaluation takes anyway."""
    trainer = make_convolutional(1.0, probes=["activations"])
    summary = trainer.fit(2)
    start = trainer.model.initial_weights() | trainer.model.initial_buffers()
    end = trainer.model.weights() | trainer.model.buffers_at_w()
    inputs, _ = TEST_IMAGES.head(len(TEST_IMAGES))
    expected = lt.activation_stability(convolutional().eval(), start, end, inputs)
    assert summary["activation_stability"] == expected["overall"] < 1
    row = trainer.member.state.last
    assert row["activation_stability_by_layer"] == expected["layers"] and set(expected["layers"]) == {"2"}
