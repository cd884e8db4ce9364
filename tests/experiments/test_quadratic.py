"""The experiment quadratic: what it finds, and that each of its claims can fail."""

import pytest

from lazytorch.experiments.quadratic import Quadratic
from lazytorch.runs import RunDirectory

SMALL = ["experiment=quadratic", "chains=1500", "stochastic_steps=100", "lrs=[0.2]", "steps=400", "exercise_steps=110"]


def test_all_claims_hold_and_the_tables_have_what_they_say(lazytorch):
    code, out, err = lazytorch(*SMALL, "seed=3")
    assert code == 0, err
    run = RunDirectory(out[-1])
    assert [claim["held"] for claim in run.summary["claims"]] == [True] * 7, err
    ends = {row["exercise"]: row for row in run.table("exercise_ends")}
    assert ends["G|w|, epsilon/G^2"]["measured"] <= 0.1 < ends["G|w|, G/epsilon"]["measured"]
    assert ends["x^2/2 + 1e-5 y^2/2"]["measured"] > 0.4 and ends["x^2/2 + |y|"]["measured"] < 0.1  # of 0.95 and 5.5
    assert all(row["limit_error"] is not None for row in run.table("spans"))
    (floor,) = run.table("floors")
    assert floor["floor_errors"] is not None and floor["error"] < 0.1 * floor["floor"]
    assert len({row["eigenvalue"] for row in run.table("modes")}) == 4


@pytest.mark.parametrize(
    ("index", "name", "value"),
    (
        (0, "descent_error", 1e-11),
        (1, "outside_span", 1e-11),
        (2, "limit_error", 1e-11),
        (3, "flow_error", 1e-8),
        (4, "noise_errors", 7.0),
        (5, "exercise_error", 1e-11),
        (6, "subgradient", False),
    ),
)
def test_each_claim_can_fail(index, name, value):
    claim = Quadratic.report.claims[index]
    assert claim.check({name: value}) is False
