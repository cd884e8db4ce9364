"""The two-layer figures on small problems: what they claim, and that wrong students, steps and scalings fail it."""

import signal

import pytest
import torch

from lazytorch.experiments import figure2a, perform, teacher_student
from lazytorch.experiments.figure1ab import Figure1ab
from lazytorch.experiments.figure1c import Figure1c
from lazytorch.experiments.figure2a import Figure2a
from lazytorch.experiments.figure2b import Figure2b
from lazytorch.reports.cli import main as report
from lazytorch.runs import RunDirectory, find
from lazytorch.theory.students import Students, two_layer

SMALL = {"trials": 2, "device": "cpu"}
PLANE = SMALL | {"step": 0.1, "steps": 2500}
FULL_BATCH = SMALL | {"dimension": 10, "neurons": 10, "train_size": 100, "test_size": 300, "steps": 1000}
FULL_BATCH |= {"tau_range": (0.01, 1.0), "taus": 2}
WIDTHS = SMALL | {"dimension": 20, "neurons": (32, 64), "train_size": 150, "test_size": 300, "teacher_scale": 30.0}
ONLINE = SMALL | {"dimension": 10, "neurons": 10, "batch_size": 50, "steps": 1000, "averaged": 100, "taus": 2}
ONLINE |= {"tau_range": (0.01, 1.0), "step": 0.1, "largest_step": 2.0}


def held(experiment):
    """What became of each claim."""
    return [claim["held"] for claim in perform(experiment).summary["claims"]]


def test_small_neurons_turn_and_large_ones_stay_unless_they_are_not_trained(folder):
    assert held(Figure1ab(**PLANE)) == [True, True]
    assert held(Figure1ab(**PLANE | {"step": 1e-4, "steps": 100})) == [False, False]
    assert held(Figure1ab(**PLANE | {"taus": (0.5, 1.0), "steps": 10}))[0] is None
    (path, *_) = find([folder / "runs"])
    assert report([str(path.path), "-o", "report"]) == 0 and (folder / "report" / "figure1ab.png").is_file()


def test_the_test_loss_worsens_with_tau_unless_the_steps_are_wrong(folder):
    run = perform(Figure1c(**FULL_BATCH))
    assert [claim["held"] for claim in run.summary["claims"]] == [True, True]
    for row in run.table("scales"):
        trials = [one["test_loss"] for one in run.table("losses") if one["tau"] == row["tau"]]
        assert row["test_loss"] == pytest.approx(sum(trials) / 2) and row["n"] == 2
    assert held(Figure1c(**FULL_BATCH | {"largest_step": 1e-4})) == [False, False]  # nothing is learnt


def test_a_step_that_is_too_large_is_a_divergence_on_record_and_no_evidence(folder):
    run = perform(Figure1c(**FULL_BATCH | {"step": 100.0, "steps": 200}))
    assert run.summary["diverged"] == 2 and [claim["held"] for claim in run.summary["claims"]] == [None, None]
    lost = [row for row in run.table("losses") if row["status"] == "diverged"]
    assert [row["tau"] for row in lost] == [1.0, 1.0] and all(row["test_loss"] == float("inf") for row in lost)


def test_students_of_figure1c_are_zero_at_the_start_unless_they_are_not_symmetrised(folder, monkeypatch):
    def largest():
        a, b, (x, _), _ = Figure1c(**FULL_BATCH).draw_trials([0])
        return two_layer(a, b, x).abs().max().item()

    assert largest() < 1e-6
    monkeypatch.setattr(teacher_student, "symmetrised", lambda a, b: (torch.cat([a, a]), torch.cat([b, b])))
    assert largest() > 0.1


def test_wide_students_are_worse_if_lazily_scaled_unless_both_scalings_are_the_same(folder, monkeypatch):
    assert held(Figure2a(**WIDTHS, steps=2000)) == [True, True]
    monkeypatch.setattr(figure2a, "Students", lambda a, b, step, scaling: Students(a, b, step[0], scaling[0]))
    assert held(Figure2a(**WIDTHS, steps=200)) == [False, True]
    flat = Figure2a.report.claims[1].check
    assert [flat({"widest": 64, "lazy_flatness": by}) for by in (1.0, 0.6, 1.6)] == [True, False, False]
    assert flat({"widest": 32, "lazy_flatness": 1.0}) is None


def test_a_step_of_figure2a_moves_the_output_as_much_at_every_width():
    """The scaled steps are the paper's: f changes at a rate that does not depend on m; without 1/alpha it would."""
    speeds = {}
    for m in (64, 1024):
        students, (x, y), _ = Figure2a(device="cpu", precision="float64", train_size=50).students(m, [0, 1])
        before = students.outputs(x)
        students.step(x, y)
        speeds[m] = (students.outputs(x) - before).norm(dim=(0, 2))
    change = speeds[1024] / speeds[64]
    assert ((change > 0.7) & (change < 1.4)).all()
    assert 4 * 0.7 > 1.4  # slower by alpha, the change would be 1/4 and 1/16


def test_the_population_loss_worsens_with_tau_unless_the_steps_are_wrong(folder):
    run = perform(Figure2b(**ONLINE))
    assert [claim["held"] for claim in run.summary["claims"]] == [True]
    for row in run.table("scales"):
        assert row["population_loss"] == pytest.approx(row["exact_loss"], rel=0.3)  # of the last steps, and after them
    assert held(Figure2b(**ONLINE | {"largest_step": 1e-4})) == [False]


def test_the_texts_step_of_figure2b_is_above_the_edge_of_stability():
    """eta times the largest eigenvalue of the tangent kernel over n, which gradient descent needs below 2."""
    a, b, (x, _), _ = Figure1c(precision="float64", device="cpu", train_size=500).draw_trials(range(4))
    active = (a @ x.mT > 0).double()
    features = (a @ x.mT).relu()
    kernel = features.mT @ features + (active * b.unsqueeze(-1) ** 2).mT @ active * (x @ x.mT)
    edge = torch.linalg.eigvalsh(kernel / x.shape[1])[:, -1].mean().item()
    assert 2 < 0.25 * edge < 2.5
    assert 0.1 * edge < 1  # the step of Figure 1(c)


def test_students_that_cannot_be_are_refused():
    for experiment, message in (
        (Figure1c(neurons=5), "neurons=5: a symmetrised student"),
        (Figure1c(tau_range=(1.0, 0.1)), "give the least and the greatest"),
        (Figure2a(neurons=(4,)), "give two numbers or more"),
        (Figure2b(averaged=30_000), "averaged=30000 of 20000 steps"),
        (Figure1ab(taus=(1.0,)), "give two scales or more"),
    ):
        with pytest.raises(ValueError, match=message.replace("(", r"\(")):
            experiment.check()


def test_killed_in_the_middle_it_goes_on_to_the_same_tables(start):
    small = ("experiment=figure1c", "scale=smoke", "device=cpu")
    assert start(*small, "runs_dir=killed", kill_at_write=(".csv", 2)).wait()[0] == -signal.SIGKILL
    (killed,) = find(["killed"])
    first = RunDirectory(killed.path).table("losses")
    assert len(first) == 3 and killed.summary is None
    for folder in ("killed", "whole"):
        code, _, err = start(*small, f"runs_dir={folder}").wait()
        assert code == 0, err
    (whole,) = find(["whole"])
    assert killed.table("losses") == whole.table("losses") and killed.table("losses")[:3] == first
    assert killed.table("scales") == whole.table("scales")
