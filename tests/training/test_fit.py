"""Several trainers at once."""

import copy
import os
import signal

import pytest
import torch
from torch import nn

import lazytorch as lt
from lazytorch.data import DeviceData
from lazytorch.runs import RunDirectory
from lazytorch.training import fit, fit_together

ALPHAS = (1.0, 100.0, float("inf"))


def data(n, seed, **options):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return DeviceData(images, torch.arange(n) % 3, mean=(0.5,), std=(0.3,), dtype=torch.float64, **options)


TRAIN, TEST = data(61, 0, augment="crop_flip"), data(20, 1)


def trainer(alpha, directory=None, **options):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 3)
    ).double()
    options = {"lr": 0.1, "batch_size": 8, "probe_size": 3, "run_dir": directory, "precision": "float64"} | options
    return lt.Trainer(lt.CenteredModel(net, alpha), TRAIN, TEST, **options)


def without_times(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_together_is_alone(tmp_path):
    together = [trainer(alpha, tmp_path / f"together{alpha}") for alpha in ALPHAS]
    summaries = fit_together(together, 3)
    for alpha, summary in zip(ALPHAS, summaries, strict=True):
        alone = trainer(alpha, tmp_path / f"alone{alpha}")
        assert without_times([summary]) == without_times([alone.fit(3)])
        rows = [RunDirectory(tmp_path / f"{kind}{alpha}").metrics for kind in ("together", "alone")]
        assert without_times(rows[0]) == without_times(rows[1]) and len(rows[0]) == 4


def test_those_behind_catch_up(tmp_path):
    ahead = trainer(1.0, tmp_path / "1.0")
    ahead.fit(2)
    together = [trainer(alpha, tmp_path / str(alpha)) for alpha in ALPHAS]
    assert [one.resume() for one in together] == [True, False, False]
    summaries = fit_together(together, 4)
    for alpha, summary in zip(ALPHAS, summaries, strict=True):
        assert without_times([summary]) == without_times([trainer(alpha).fit(4)])


@pytest.mark.parametrize("read_every", (2, 200))
def test_one_that_diverges_leaves_the_others(tmp_path, monkeypatch, read_every):
    monkeypatch.setattr(fit, "READ_EVERY", read_every)
    wild = trainer(1.0, tmp_path / "wild", lr=1e30)
    calm = [trainer(alpha) for alpha in (100.0, 10.0)]
    statuses = [summary["status"] for summary in fit_together([wild, *calm], 2)]
    assert statuses == ["diverged", "finished", "finished"]
    for one in calm:
        assert without_times([one.last]) == without_times([_alone(one.model.alpha)])


def test_trainers_part_afterwards():
    first, second = (trainer(alpha) for alpha in (1.0, 100.0))
    fit_together([first, second], 1)
    before = copy.deepcopy(second.model.state_dict())
    first.fit(2)
    torch.testing.assert_close(second.model.state_dict(), before, rtol=0, atol=0)
    assert without_times([first.last]) == without_times([_alone(1.0)])


def _alone(alpha):
    alone = trainer(alpha)
    alone.fit(2)
    return alone.last


@pytest.mark.parametrize("number", (signal.SIGINT, signal.SIGTERM))
def test_asked_to_stop_all_checkpoint_and_go_on(tmp_path, number):
    together = [trainer(alpha, tmp_path / str(alpha)) for alpha in ALPHAS]
    learn = together[1].learn

    def interrupted(outputs, y):
        if (together[1].epoch, together[1].step) == (1, 3):
            os.kill(os.getpid(), number)
        learn(outputs, y)

    together[1].learn = interrupted
    assert [summary["status"] for summary in fit_together(together, 3)] == ["interrupted"] * 3
    again = [trainer(alpha, tmp_path / str(alpha)) for alpha in ALPHAS]
    assert all(one.resume() for one in again) and {(one.epoch, one.step) for one in again} == {(1, 4)}
    for alpha, summary in zip(ALPHAS, fit_together(again, 3), strict=True):
        assert without_times([summary]) == without_times([trainer(alpha).fit(3)])
