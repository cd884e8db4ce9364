"""The experiment linear_ceiling, against least squares on the explicit Jacobian."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra import compose as compose_configuration
from hydra import initialize_config_dir

import lazytorch as lt
from lazytorch.cli import CONF
from lazytorch.data import ImageSet
from lazytorch.experiments.compose import compose
from lazytorch.experiments.linear_ceiling import ALL, LinearCeiling, fits, resolved, summarise
from lazytorch.experiments.problem import Data
from lazytorch.experiments.run import Run
from lazytorch.experiments.training import Training
from lazytorch.runs import RunDirectory
from lazytorch.theory.ridge import hold_out, one_hot

TINY = ["experiment=linear_ceiling", "data=digits", "data.size=4", "model=mlp", "model.depth=1", "precision=float64"]
SMALL = [*TINY, "model.width=8", "data.train_size=40", "data.test_size=30"]
MODEL = {"_target_": "lazytorch.models.mlp", "width": 8, "depth": 1}
PARTS = ("validation", "train", "test")
LEAST = ("regulariser", "train_accuracy", "test_accuracy")
NAMES = ("linear_ceiling", "figure3a")
KINDS = ("full", "trace")
KERNELS = ("train_kernel.npy", "train_kernel.npy.tiles", "test_kernel.npy", "test_kernel.npy.tiles")


def experiment(**values):
    usual = {"model": MODEL, "data": Data(train_size=30, test_size=30, size=4), "seed": 3, "kernel": "full"}
    return LinearCeiling(**usual | values)


def rows_of(ceiling, folder, problem=None):
    folder.mkdir()
    run = Run(RunDirectory(folder), problem or ceiling.problem(), seed=ceiling.seed)
    return run, ceiling.run(run), run.table("regularisers")


def jacobian(net, x):
    """(n K, P), row i K + k for output k of input i."""
    weights = dict(net.named_parameters())
    parts = torch.func.jacrev(lambda w: torch.func.functional_call(net, w, (x,)))(weights)
    return torch.cat([part.flatten(2) for part in parts.values()], dim=2).flatten(0, 1)


def least_squares(jacobian, targets, ridge):
    """The theta of smallest |J theta - Y|^2 + ridge |theta|^2, and of those the smallest."""
    size = jacobian.shape[1]
    rows = torch.cat([jacobian, ridge**0.5 * torch.eye(size, dtype=torch.float64)])
    goal = torch.cat([targets.flatten(), torch.zeros(size, dtype=torch.float64)])
    return torch.linalg.lstsq(rows, goal[:, None], driver="gelsd").solution


def reference(problem, seed, regularisers):
    """(validation, train, test accuracy) of the linearized network whose theta solves the least squares, for each."""
    (x, labels), (test_x, test_labels) = (data.head(len(data)) for data in problem.data("float64"))
    design, test_design = jacobian(problem.net, x).unflatten(0, (len(x), 10)), jacobian(problem.net, test_x)
    fitted, held_out = hold_out(labels, seed)

    def accuracy(chosen, other, other_labels, regulariser):
        rows = design[chosen].flatten(0, 1)
        theta = least_squares(rows, one_hot(labels[chosen], 10), regulariser * rows.square().sum() / len(rows))
        return ((other @ theta).view(-1, 10).argmax(1) == other_labels).double().mean().item()

    validation, whole = (design[held_out].flatten(0, 1), labels[held_out]), torch.arange(len(x))
    for r in regularisers:
        train, test = ((design.flatten(0, 1), labels), (test_design, test_labels))
        yield [accuracy(fitted, *validation, r), accuracy(whole, *train, r), accuracy(whole, *test, r)]


@pytest.fixture(scope="module")
def tangent():
    """A network and kernels of it, full and trace, of 12 inputs and of 5 others; (n K, P) Jacobians."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    net = lt.models.mlp(width=30, depth=1, classes=3, channels=4, size=1, activation="tanh").double()
    x, other = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (12, 5))
    return net, x, other, one_hot(torch.arange(12) % 3, 3)


@pytest.mark.parametrize("regulariser", (1e2, 1.0, 1e-3, 0.0))
def test_the_full_kernel_gives_the_linearized_optimum(tangent, regulariser):
    net, x, other, targets = tangent
    kernels = lt.empirical_ntk(net, x), lt.empirical_ntk(net, other, x)
    ((outputs, others),) = fits(kernels[0], targets, kernels[1], [regulariser])
    design = jacobian(net, x)
    theta = least_squares(design, targets, regulariser * design.square().sum() / len(design))
    torch.testing.assert_close(outputs, (design @ theta).view(12, 3), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(others, (jacobian(net, other) @ theta).view(5, 3), rtol=1e-7, atol=1e-7)
    if regulariser == 0:
        torch.testing.assert_close(outputs, targets, rtol=0, atol=1e-8)


def test_where_the_last_layer_alone_is_trained_the_trace_kernel_is_exact(tangent):
    net, x, other, targets = tangent
    for parameter in list(net.parameters())[:-2]:
        parameter.requires_grad_(False)
    kinds = [[lt.empirical_ntk(net, x, kind=k), lt.empirical_ntk(net, other, x, kind=k)] for k in KINDS]
    net.requires_grad_(True)
    full, trace = (fits(kernel, targets, others, ALL[:-1]) for kernel, others in kinds)
    for pair in zip(full, trace, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("width", (4, 24))  # 118 parameters for 300 outputs, and 658
def test_its_accuracies_are_those_of_least_squares(tmp_path, width):
    ceiling = experiment(model=MODEL | {"width": width})
    run, summary, rows = rows_of(ceiling, tmp_path / "run")
    singular = [row["regulariser"] for row in rows if row["train_accuracy"] is None]
    assert singular == ([0.0] if width == 4 else []) and [row["regulariser"] for row in rows] == list(ALL)
    found = {row["regulariser"]: [row[f"{part}_accuracy"] for part in PARTS] for row in rows}
    several = (10.0, 1e-3)
    for regulariser, expected in zip(several, reference(run.problem, 3, several), strict=True):
        assert found[regulariser] == pytest.approx(expected)
    least = 1e-10 if width == 4 else 0.0
    assert [summary[f"interpolation_{name}"] for name in LEAST] == [least, *found[least][1:]]
    assert not any((run.path / name).exists() for name in KERNELS)


def test_the_trace_kernel_is_the_limit_of_the_full_one(tangent):
    """The outputs differ by width^-1/2: a hundred times wider, a tenth."""
    _, x, other, targets = tangent
    torch.manual_seed(1)
    differences = []
    for width in (20, 2000):
        net = lt.models.mlp(width=width, depth=1, classes=3, channels=4, size=1).double()
        kernels = [(lt.empirical_ntk(net, x, kind=k), lt.empirical_ntk(net, other, x, kind=k)) for k in KINDS]
        full, trace = (next(fits(kernel, targets, others, [0.1]))[1] for kernel, others in kernels)
        differences.append(((full - trace).norm() / full.norm()).item())
    assert 3 < differences[0] / differences[1] < 30


def test_a_kernel_resolves_what_is_above_its_rounding():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(20, 50, generator=generator, dtype=torch.float64)
    kernel = rows @ rows.T
    assert resolved(kernel) == resolved(kernel.float()) == list(ALL)
    singular = rows[:, :5] @ rows[:, :5].T
    assert resolved(singular) == list(ALL[:-1])
    level = 10 * torch.finfo(torch.float32).eps * singular.norm().item() / singular.diagonal().mean().item()
    assert resolved(singular.float()) == [regulariser for regulariser in ALL if regulariser > level] != list(ALL[:-1])


def test_the_best_on_the_held_out_images_is_chosen_and_test_labels_choose_nothing(tmp_path):
    ceiling = experiment(kernel="trace")
    problem = ceiling.problem()
    test = problem.test
    shuffled = ImageSet(test.images, test.labels.flip(0), test.classes)
    _, summary, rows = rows_of(ceiling, tmp_path / "given", problem)
    _, other, others = rows_of(ceiling, tmp_path / "shuffled", replace(problem, test=shuffled, _made={}))
    assert summary["test_accuracy"] != other["test_accuracy"]
    for one, another in ([summary, other], *zip(rows, others, strict=True)):
        assert all(one[name] == another[name] for name in one if "test_accuracy" not in name)
    chosen = next(row for row in rows if row["regulariser"] == summary["regulariser"])
    assert chosen["validation_accuracy"] == max(row["validation_accuracy"] or 0 for row in rows)
    assert all(summary[name] == chosen[name] for name in chosen)


def test_the_summary_is_of_the_best_and_of_the_smallest_regulariser():
    names = ("regulariser", "validation_accuracy", "train_accuracy", "test_accuracy")
    table = ((1.0, 0.5, 0.6, 0.9), (0.1, 0.7, 0.8, 0.4), (0.01, 0.6, 1.0, 0.3), (0.0, None, None, None))
    summary = summarise([dict(zip(names, row, strict=True)) for row in table])
    assert summary == dict(zip(names, table[1], strict=True)) | {
        "interpolation_regulariser": 0.01,
        "interpolation_train_accuracy": 1.0,
        "interpolation_test_accuracy": 0.3,
    }


def test_images_and_network_are_those_of_training():
    overrides = ["data=digits", "scale=laptop", "model.width=0.05", "data.train_size=30", "data.test_size=20"]
    with initialize_config_dir(str(CONF.resolve()), version_base="1.3"):
        composed = [compose_configuration("config", [f"experiment={n}", *overrides]) for n in NAMES]
    ceiling, training = (compose(config, name) for config, name in zip(composed, NAMES, strict=True))
    assert isinstance(ceiling, LinearCeiling) and isinstance(training, Training)
    ours, theirs = ceiling.problem(), training.problem()
    for one, other in ((ours.train, theirs.train), (ours.test, theirs.test)):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    assert ours.fingerprints == theirs.fingerprints
    torch.testing.assert_close(ours.net.state_dict(), theirs.net.state_dict(), rtol=0, atol=0)


def test_killed_in_a_kernel_and_after_them_it_goes_on_to_the_same_table(start, folder):
    small = [*SMALL, "data.train_size=60", "max_memory=64KiB"]  # 28 tiles and more
    killed = start(*small, "runs_dir=killed")
    record = wait_for_tiles(folder, 3)
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait()[0] == -signal.SIGKILL
    run = RunDirectory(record.parent)
    done = record.read_text()
    assert run.summary is None and run.tables == []

    assert start(*small, "runs_dir=killed", kill_at_write=(".csv", 1)).wait()[0] == -signal.SIGKILL
    assert record.read_text().startswith(done[: done.rindex("\n")])  # what was done was not computed again
    assert all((run.path / name).exists() for name in KERNELS)

    code, _, err = start(*small, "runs_dir=killed").wait()
    assert code == 0, err
    assert not any((run.path / name).exists() for name in KERNELS)
    code, out, err = start(*small, "runs_dir=whole").wait()
    assert code == 0, err
    whole = RunDirectory(folder / out[-1])
    assert run.table("regularisers") == whole.table("regularisers")
    assert run.summary | {"seconds": 0} == whole.summary | {"seconds": 0}


def wait_for_tiles(folder: Path, number: int) -> Path:
    """The record of the first kernel, once that many of its tiles are there."""
    for _ in range(6000):
        for record in folder.glob("killed/*/*/train_kernel.npy.tiles"):
            if record.read_text().count("\n") > number:
                return record
        time.sleep(0.01)
    raise TimeoutError("no tiles")


def test_started_over_it_uses_no_kernel_of_before(lazytorch):
    code, out, err = lazytorch(*SMALL)
    assert code == 0, err
    run = RunDirectory(out[-1])
    whole = run.table("regularisers")
    (run.path / KERNELS[0]).write_bytes(b"of another")
    (run.path / KERNELS[1]).write_text("of another\n")
    code, _, err = lazytorch(*SMALL, "resume=false")
    assert code == 0 and run.table("regularisers") == whole, err


@pytest.mark.parametrize(
    "arguments, message",
    (
        (["data.augment=flip"], "data.augment=flip: LinearCeiling has no augmentation, set it to none"),
        (["kernel=diagonal"], "unknown kernel 'diagonal': choose one of trace, full"),
        (["max_memory=much"], "max_memory='much': give a number of bytes"),
        (["data.train_size=10"], "leaves none of class 0: hold out fewer"),
        (["alpha=inf"], "LinearCeiling reads no key alpha: remove it"),
    ),
)
def test_what_it_has_no_use_for_is_refused_before_anything_is_written(lazytorch, folder, arguments, message):
    code, out, err = lazytorch(*SMALL, *arguments)
    assert code == 1 and out == [] and len(err.splitlines()) == 1 and message in err
    assert not list(folder.glob("runs/*/*/config.yaml"))
