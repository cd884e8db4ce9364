"""The probe of kappa against the criterion itself, and that it changes nothing."""

import logging
import math

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.training.probes import find_probe, make_probes

from .problems import TEST_IMAGES, assert_same, make_convolutional

FEW, _ = TEST_IMAGES.head(2)


def model_of(alpha):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    model = lt.CenteredModel(net, alpha).eval()
    return net, model


def test_is_that_of_one_hot_targets_at_the_start_whatever_they_are(caplog):
    x, labels = torch.randn(2, 4), torch.tensor([0, 2])
    (probe,) = make_probes(["kappa"], x)
    net, model = model_of(5.0)
    expected = lt.theory.kappa(lt.CenteredModel(net, 5.0), x, labels, starts=3)
    assert expected.residual == pytest.approx(1)
    with caplog.at_level(logging.INFO):
        assert probe(model)["kappa"] == pytest.approx(expected.kappa, rel=1e-6)
    assert f"kappa(w_0) = {5 * expected.kappa:.3g} / alpha" in caplog.text
    for theta in model.theta.values():
        nn.init.normal_(theta)
    assert probe(model)["kappa"] == pytest.approx(expected.kappa, rel=1e-6)  # still of the start
    assert probe(model_of(math.inf)[1])["kappa"] == 0


def test_it_has_no_effect_on_training(monkeypatch):
    monkeypatch.setattr("lazytorch.training.probes.kappa.STARTS", 1)
    beside, alone = (make_convolutional(1.0, probes=probes) for probes in ([find_probe("kappa")(FEW)], []))
    assert 0 < beside.fit(1)["kappa"] < math.inf
    alone.fit(1)
    assert_same(alone.model.state_dict(), beside.model.state_dict())
