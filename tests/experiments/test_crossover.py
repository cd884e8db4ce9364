"""The experiment crossover: alpha* between drifts above and below the threshold, and its claims."""

import math

import pytest
import torch

import lazytorch as lt
from lazytorch.experiments.crossover import Crossover, _collapse
from lazytorch.experiments.slopes import log_slope
from lazytorch.runs import RunDirectory

SMALL = ("experiment=crossover", "data.train_size=20", "data.test_size=20", "widths=[8,16]", "draws=1")
SMALL += ("scaled_alphas=[0.3]", "share=0.6", "tolerance=0.5", "probe_size=4")


def test_the_drift_passes_the_threshold_at_the_crossover(lazytorch):
    code, out, err = lazytorch(*SMALL, "seed=2")
    assert code == 0, err
    run = RunDirectory(out[-1])
    narrow, wide = run.table("crossover")
    images, test = lt.data.load("digits", train_size=20, test_size=20, seed=2)
    mean, std = lt.data.channel_statistics(images.images)
    x, probe = ((one.images.float() / 255 - torch.tensor(mean)) / torch.tensor(std) for one in (images, test))
    targets = torch.where(images.labels % 2 == 0, 1.0, -1.0)[:, None]
    torch.manual_seed(2)
    net = lt.models.ntk_mlp(16, 1, 1, 1, 8, "tanh")
    drift = lt.theory.TrainingDrift(net, x, targets, probe[:4], share=0.6)
    assert drift(wide["crossover"] / 1.5) > 0.5 > drift(wide["crossover"] * 1.5)
    assert run.table("drift")[1]["ntk_drift"] == pytest.approx(drift(0.3 / math.sqrt(16)), rel=1e-3)
    slope = math.log(wide["crossover"] / narrow["crossover"]) / math.log(2)
    assert run.summary["slope"] == pytest.approx(slope)


def test_slope_and_collapse_of_a_drift_of_alpha_and_width():
    widths = [16, 64, 256]
    for power in (0.5, 0.25):  # of the width, in drift = 1 / (alpha width^power)
        rows = [
            {"width": h, "scaled_alpha": z, "ntk_drift": h ** (0.5 - power) / z} for h in widths for z in (0.1, 1.0)
        ]
        assert log_slope([{"width": h, "crossover": h**-power} for h in widths], "width", "crossover") == pytest.approx(
            -power
        )
        assert _collapse(rows, 0.5) == pytest.approx(16 ** (0.5 - power))
        checks = [claim.check for claim in Crossover.report.claims]
        summary = {"slope": -power, "collapse": _collapse(rows, 0.5)}
        assert [check(summary) for check in checks] == [power == 0.5] * 2
    assert [check({"slope": None, "collapse": None}) for check in checks] == [None, None]
    assert (
        _collapse(rows, 100.0) is None
        and log_slope([{"width": 16, "crossover": a} for a in (0.1, 0.2)], "width", "crossover") is None
    )


def test_settings_that_cannot_be(lazytorch):
    for arguments, message in (
        (["widths=[]"], "give one or more widths"),
        (["model=two_layer"], "refuses its keys"),
        (["scaled_alphas=[1,1]"], "give one or more scaled_alphas, none of them twice"),
    ):
        code, out, err = lazytorch(*SMALL, *arguments)
        assert code == 1 and out == [] and message in err, err
