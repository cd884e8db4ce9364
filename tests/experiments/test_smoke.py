"""A tiny run of every shipped experiment, as its class says it, and the report on all of them."""

import sys

import pytest

from lazytorch.cli import CONF, smoke
from lazytorch.runs import RunDirectory

EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
SLOW = ("figure3a", "figure3a_grid", "figure3b", "quickstart")  # sweeps, which CI runs


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in EXPERIMENTS]
)
def test_a_tiny_run(lazytorch, monkeypatch, capfd, name):
    monkeypatch.setattr(sys, "argv", ["smoke", name])
    smoke.main()
    overrides = capfd.readouterr().out.splitlines()
    assert overrides
    code, out, err = lazytorch(f"experiment={name}", *overrides)
    assert code == 0 and len(out) == 1, err
    if name not in SLOW:
        assert RunDirectory(out[-1]).summary["status"] == "finished"
