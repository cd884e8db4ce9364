"""The experiment hessian: what it measures on the way down, and what fails its claims."""

import pytest

from lazytorch.experiments.hessian import Hessian
from lazytorch.runs import RunDirectory

SMALL = ("experiment=hessian", "data.train_size=10", "model.width=16", "count=5")


@pytest.mark.slow
def test_the_difference_falls_like_the_root_of_the_loss(lazytorch):
    code, out, err = lazytorch(*SMALL, "losses=[1e-2,1e-4,1e-6,1e-9]")
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert [claim["held"] for claim in run.summary["claims"]] == [True] * 4
    rows = run.table("losses")
    assert [row["level"] for row in rows] == [0, 1, 2, 3, 4]
    for row, level in zip(rows[1:], (1e-2, 1e-4, 1e-6, 1e-9), strict=True):
        assert level / 30 < row["loss"] <= level
    assert rows[-1]["difference"] < 1e-4 * rows[0]["difference"]
    end = [row for row in run.table("spectra") if row["place"] == "minimum"]
    assert [row["index"] for row in end] == [1, 2, 3, 4, 5]
    assert end[0]["hessian"] == pytest.approx(end[0]["kernel"], rel=1e-4)


def test_wrong_numbers_fail_the_claims():
    shared, weyl, slope, near = (claim.check for claim in Hessian.report.claims)
    right = {"kernel_error": 1e-14, "over_bound": 0.3, "slope": 0.52, "loss": 1e-9, "difference": 1e-6}
    assert all(check(right) for check in (shared, weyl, slope, near))
    assert not shared(right | {"kernel_error": 1e-6}) and not weyl(right | {"over_bound": 1.01})
    assert not slope(right | {"slope": 0.25})  # as if it fell like the residual's square root
    assert not near(right | {"difference": 0.01}) and near(right | {"loss": 1e-6}) is None


def test_a_descent_that_ends_early_is_a_result(lazytorch):
    code, out, err = lazytorch(*SMALL, "losses=[1e-1,1e-20]", "iterations=10")
    assert code == 0, err
    run = RunDirectory(out[-1])
    rows = run.table("losses")
    assert len(rows) < 3 and run.summary["claims"][3]["held"] is None
    assert 0 < rows[0]["over_bound"] < 1 and rows[0]["kernel_error"] < 1e-9


def test_refusals(lazytorch):
    code, _, err = lazytorch(*SMALL, "losses=[]")
    assert code == 1 and "losses is empty: give one or more" in err
