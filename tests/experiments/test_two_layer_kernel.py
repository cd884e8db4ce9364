"""The experiment two_layer_kernel: its claims, what fails them, and a run that is killed."""

import math
import signal

import pytest
import torch
import torch.nn.functional as F

from lazytorch.experiments import two_layer_kernel
from lazytorch.runs import RunDirectory

SMALL = (
    *("experiment=two_layer_kernel", "examples=4", "dimension=4", "widths=[256,4096]", "draws=1"),
    *("horizon=5", "kernel_draws=400"),
)
GAP, MOVED, DECAY, WAY, FLIPS = range(5)


@pytest.fixture
def run(lazytorch):
    def run(*arguments):
        code, out, err = lazytorch(*SMALL, *arguments)
        assert code == 0, err
        done = RunDirectory(out[-1])
        return done, [claim["held"] for claim in done.summary["claims"]]

    return run


def test_all_claims_hold_and_wrong_constants_fail_them(run, monkeypatch):
    done, held = run()
    assert held == [True] * 5
    x = F.normalize(torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    cosine = (x @ x.T).clamp(-1, 1)
    limit = cosine * (math.pi - cosine.arccos()) / (2 * math.pi)
    assert done.summary["lambda_0"] == pytest.approx(torch.linalg.eigvalsh(limit)[0].item(), rel=1e-6)
    rows = done.table("networks")
    assert [row["width"] for row in rows] == [256, 4096]
    assert all(row["way"] < row["way_bound"] and row["flipped"] < row["flipped_bound"] for row in rows)
    curves = [row for row in done.table("curves") if row["width"] == 256]
    assert len(curves) == 41 and curves[0]["residual_share"] == 1 and curves[-1]["rate"] == 5

    right = {name: getattr(two_layer_kernel, name) for name in ("decay_bound", "displacement_bound", "flip_bound")}
    wrong = {
        "decay_bound": lambda times, lambda_0: right["decay_bound"](times, 4 * lambda_0),
        "displacement_bound": lambda n, m, r, lambda_0: (
            right["displacement_bound"](n, m, r, lambda_0) * math.sqrt(n / m)
        ),
        "flip_bound": lambda radius: right["flip_bound"](radius) / 20,
        "limit_kernel": lambda x: 1.1 * limit,
    }
    for name, formula in wrong.items():
        monkeypatch.setattr(two_layer_kernel, name, formula)
    _, held = run("resume=false")
    assert held == [False, True, False, False, False]


def test_what_is_implied_is_not_checked_where_the_kernel_does_not_stay(run):
    done, held = run("widths=[2,3]", "draws=1", "examples=6", "kernel_draws=1")
    assert done.summary["share_within"] == 0 and held[DECAY] is None and held[WAY] is None


def test_killed_in_the_middle_it_goes_on_to_the_same_tables(start, folder):
    small = (*SMALL, "widths=[8,16]", "horizon=0.5", "draws=1", "kernel_draws=2")
    assert start(*small, "runs_dir=killed", kill_at_write=(".csv", 4)).wait()[0] == -signal.SIGKILL
    (path,) = (folder / "killed" / "two_layer_kernel").iterdir()
    killed = RunDirectory(path)
    assert killed.summary is None and len(killed.table("curves")) == 41 and not killed.table("networks")
    assert start(*small, "runs_dir=killed").wait()[0] == 0
    assert start(*small, "runs_dir=whole").wait()[0] == 0
    whole = RunDirectory(folder / "whole" / "two_layer_kernel" / path.name)
    for table in ("kernels", "curves", "networks"):
        assert killed.table(table) == whole.table(table) != []
