import csv
import io
import math
import statistics

import pytest

from lazytorch.reports import Published, PublishedRow, Report, Table
from lazytorch.reports.comparison import differences, published
from lazytorch.reports.tables import FIRST, LAST, table, write_csv


def dicts(rows):
    return [dict(zip(rows.head, row, strict=True)) for row in rows.rows]


def parse(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_csv_holds_mean_and_deviation_in_full(sweep, only):
    section = only(sweep)
    rows = parse(write_csv([section]))
    assert [float(row["alpha"]) for row in rows] == [1, 10, 1000, math.inf]
    for row, group in zip(rows, section.groups, strict=True):
        assert (row["experiment"], row["seeds"], row["n"], row["status"]) == ("Training", "0 1 2", "3", "finished")
        for key in ("train_accuracy", "test_accuracy", "displacement", "ntk_drift", "seconds", "linearization_error"):
            values = [run.summary[key] for run in group.runs]
            assert float(row[f"{key}_mean"]) == pytest.approx(statistics.mean(values), rel=1e-12)
            assert float(row[f"{key}_std"]) == pytest.approx(statistics.stdev(values), abs=1e-15)


def test_the_csv_has_every_number_that_was_measured_and_nothing_where_none_was(train, only):
    train(1.0, results={"mine": 0.25, "nested": {"rank": 7}, "displacement": None, "name": "words"})
    (row,) = parse(write_csv([only()]))
    assert row["mine_mean"] == "0.25" and row["mine_std"] == "" and row["nested.rank_mean"] == "7.0"
    assert "displacement_mean" not in row and "name_mean" not in row and "epoch_mean" not in row


def test_texts_that_a_spreadsheet_would_run_are_quoted(write, only):
    for seed, note in enumerate(("=1+1", "+cmd", "-x", "@sum", "-5", "plain")):
        write({"seed": 0, "=note": note, "number": -float(seed + 1)}, {"=loss": -1.5}, base={"_target_": "a.B"})
    text = write_csv([only()])
    rows = parse(text)
    assert [row["'=note"] for row in rows] == ["'+cmd", "-5", "'-x", "'=1+1", "'@sum", "plain"]
    assert all(float(row["number"]) < 0 and row["'=loss_mean"] == "-1.5" for row in rows)


def test_results_are_means_with_deviation_and_n(train, only):
    for seed in range(3):
        train(1.0, seed, results={"test_accuracy": 0.5 + 0.1 * seed, "ntk_drift": 0.0, "mine": 2.0 if seed else None})
    train(10.0, 0)
    one, two = dicts(table(only(), Table("summary")))
    assert (one["alpha"], one["n"], one["status"]) == ("1", "3", "finished")
    assert one["test accuracy (%)"] == "60.0 ± 10.0" and one["kernel drift"] == "0"
    assert one["mine"] == "2 (n = 2)" and two["mine"] == "–"
    assert two["n"] == "1" and "±" not in " ".join(two.values())


def test_statuses_are_counted(train, only):
    for seed, status in enumerate(("finished", "finished", "diverged", None)):
        train(1.0, seed, status)
    (row,) = dicts(table(only(), Table("summary")))
    assert row["n"] == "2" and row["status"] == "1 diverged, 2 finished, 1 unfinished"


def test_columns_can_be_chosen(sweep, only):
    rows = table(only(), Table("summary", columns=("displacement", "nothing")))
    assert rows.head == ["alpha", "n", "status", "displacement"]
    assert table(only(), Table("summary", columns=("nothing",))) is None


def test_what_a_probe_measured_is_a_row_of_the_table_declared_or_not(write, only):
    metrics = [{"epoch": 1, "alpha": 1.0, "sharpness": 3.0, "learning_rate": 0.5, "mine": 0.5}]
    quantities = {"mine": {"label": "my share", "percent": True}}
    write({"alpha": 1.0, "seed": 0}, {"seconds": 2.0}, metrics=metrics, report=Report(), quantities=quantities)
    assert table(only(), Table("summary")).head == ["alpha", "n", "status", "seconds", "my share (%)", "sharpness"]


def test_rows_of_seeds_become_one_where_they_match(write, only):
    for seed in range(2):
        rows = [{"width": w, "kind": "a", "loss": w + seed} for w in (1, 2)]
        write({"seed": seed}, base={"_target_": "a.B"}, report=Report(Table("rows")), tables={"rows": rows})
    found = dicts(table(only(), Table("rows")))
    assert found == [
        {"width": "1", "kind": "a", "loss": "1.5 ± 0.707", "n": "2"},
        {"width": "2", "kind": "a", "loss": "2.5 ± 0.707", "n": "2"},
    ]


def test_rows_that_do_not_match_are_all_shown(write, only):
    for seed in range(2):
        rows = [{"kind": "ab"[seed], "loss": i} for i in range(seed + 1)]
        write({"seed": seed}, base={"_target_": "a.B"}, report=Report(Table("rows")), tables={"rows": rows})
    assert [row["kind"] for row in dicts(table(only(), Table("rows")))] == ["a", "b", "b"]


def test_rows_of_several_settings_say_whose_they_are(write, only):
    for lr in (0.1, 0.2):
        write(
            {"seed": 0, "lr": lr}, base={"_target_": "a.B"}, report=Report(Table("rows")), tables={"rows": [{"a": 1}]}
        )
    assert table(only(), Table("rows")).rows == [["lr=0.1", "1"], ["lr=0.2", "1"]]


def test_a_long_table_is_cut_and_says_so(write, only):
    rows = [{"index": i} for i in range(100)]
    write({"seed": 0}, report=Report(Table("rows")), tables={"rows": rows})
    found = table(only(), Table("rows"))
    assert [row[0] for row in found.rows] == [*map(str, range(FIRST)), "…", *map(str, range(100 - LAST, 100))]
    assert found.note == f"{FIRST + LAST} of 100 rows: the first {FIRST} and the last {LAST}."


ROW = PublishedRow(
    "linearized",
    {"test_accuracy": 0.617, "train_accuracy": None},
    where={"alpha": 1e7, "model._target_": "lazytorch.models.vgg11"},
)


def test_ours_stand_beside_the_published_numbers(train, only):
    for seed, accuracy in enumerate((0.60, 0.62)):
        train(1e7, seed, results={"test_accuracy": accuracy})
    train(1e7, 2, status="diverged")
    train(1.0, 0)
    rows = published(only(), Published("Figure 3(b)", "a paper", (ROW, PublishedRow("other", {"test_accuracy": 0.8}))))
    assert rows.head[:4] == ["published", "test accuracy (%)", "ours", "difference"]
    ours, other = rows.rows
    assert ours[:4] == ["linearized", "61.7", "61.0 ± 1.4", "-0.7"] and ours[-2:] == ["2", ""]
    assert other == ["other", "80.0", "–", "–", "–", "–", "–", "0", ""]


def test_what_is_not_comparable_says_in_what(train, only):
    train(1e7, 0, changed={"epochs": 70})
    protocol = {"data.name": "cifar10", "epochs": 70, "data.train_size": None, "schedule.beta": 0.5, "batch_size": 128}
    section = only()
    ((*_, n, remark),) = published(section, Published("Figure 3(b)", "a paper", (ROW,), protocol)).rows
    assert n == "1"
    assert remark == "not comparable: data.name is digits (cifar10 there), schedule.beta is not set (0.5 there)"
    assert differences(section, Published("Figure 3(a)", "a paper", protocol=protocol)) == remark[16:].split(", ")


def test_a_row_has_a_protocol_of_its_own(train, only):
    train(1e7, 0)
    row = PublishedRow("one", {"test_accuracy": 0.5}, where={"alpha": 1e7}, protocol={"optimizer.lr": 0.01})
    (line,) = published(only(), Published("one", "a paper", (row,), {"optimizer.lr": 1.0})).rows
    assert line[-1] == "not comparable: optimizer.lr is 1 (0.01 there)"


def test_a_published_row_without_a_run_of_ours_says_so(train, only):
    train(1.0, 0)
    (line,) = published(only(), Published("one", "a paper", (ROW,))).rows
    assert line[-1] == "no such run" and line[1] == "61.7"


def test_settings_that_a_published_row_leaves_open_are_rows_of_their_own(train, only):
    for lr in (0.1, 1.0):
        train(1e7, 0, changed={"optimizer.lr": lr})
    rows = published(only(), Published("one", "a paper", (ROW,))).rows
    assert [row[-1] for row in rows] == ["lr=0.1, alpha=1e7", "lr=1, alpha=1e7"]
