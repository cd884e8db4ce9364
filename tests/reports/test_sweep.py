import math

import pytest

from lazytorch.reports import read_sweep


def test_seeds_are_one_cell_and_alphas_one_series(sweep):
    read = read_sweep([sweep])
    (series,) = read.series
    assert series.label == "" and read.varying == []
    assert [cell.alpha for cell in series.cells] == [1, 10, 1000, math.inf]
    assert all([member.seed for member in cell.members] == [0, 1, 2] for cell in series.cells)


def test_series_are_named_by_as_few_keys_as_tell_them_apart(train, sweep):
    train(1.0, **{"model._target_": "lazytorch.models.resnet18", "model.width": 0.5})
    read = read_sweep([sweep])
    assert [series.label for series in read.series] == ["model=resnet18", "model=vgg11"]
    assert read.varying == ["model._target_", "model.width"]


def test_targets_of_one_name_are_told_apart(train, tmp_path):
    train(1.0, **{"model._target_": "a.Net"})
    train(1.0, **{"model._target_": "b.Net"})
    assert [one.label for one in read_sweep([tmp_path]).series] == ["model._target_=a.Net", "model._target_=b.Net"]


def test_where_a_run_was_computed_makes_no_series(train, sweep):
    train(1.0, seed=3, **{"device": "cuda", "data.root": "/data", "epochs": 100})
    (series,) = read_sweep([sweep]).series
    assert len(series.cells[0].members) == 4


def test_one_configuration_on_two_kinds_of_data_is_two_series(train, tmp_path):
    train(1.0, folder="here", fingerprint={"train": "cats"})
    train(1.0, folder="there", fingerprint={"train": "dogs"})
    read = read_sweep([tmp_path])
    assert len(read.series) == 2 and read.repeated == []
    assert all(series.label.startswith("data_fingerprint=") for series in read.series)


def test_a_repeated_run_counts_once_and_the_finished_one_counts(train, tmp_path):
    killed = train(1.0, folder="a", status=None)
    train(1.0, folder="b")
    read = read_sweep([tmp_path])
    (member,) = read.members
    assert member.status == "finished" and read.repeated == [killed.path]


def test_only_finished_runs_have_results(train, tmp_path):
    for seed, status in enumerate(("finished", "diverged", "interrupted", None)):
        train(1.0, seed, status)
    (cell,) = read_sweep([tmp_path]).cells
    assert list(cell.results("train_accuracy")) == [cell.finished[0].summary["train_accuracy"]]
    assert [member.seed for member in cell.diverged] == [1]


def test_what_the_summary_lacks_is_that_of_the_last_evaluation(train, tmp_path):
    train(1.0, results={"kernel_distance": None})
    (member,) = read_sweep([tmp_path]).members
    assert member.result("linearization_error") == 0.2
    assert math.isnan(member.result("kernel_distance")) and math.isnan(member.result("unheard_of"))


def test_no_run_is_an_error_with_its_remedy(tmp_path):
    with pytest.raises(ValueError, match="no run directory at or below .*; train one with lazytorch"):
        read_sweep([tmp_path])


def test_other_kinds_of_runs_are_left_out(train, sweep):
    other = train(1.0, folder="runs/other", kind="kernel_spectrum")
    read = read_sweep([sweep])
    assert len(read.members) == 12
    with pytest.raises(ValueError, match="no run directory"):
        read_sweep([other.path])
