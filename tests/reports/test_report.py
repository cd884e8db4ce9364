import csv
import math
import re
import statistics
import subprocess
import sys

import pytest

from lazytorch.reports import read_sweep, write_report
from lazytorch.reports.cli import main
from lazytorch.reports.tables import spell_alpha

FILES = ["report.md", "table.csv"] + [
    f"{name}.{kind}" for name in ("accuracy", "curves", "drift") for kind in ("pdf", "png")
]


def test_the_command_writes_everything_and_prints_where(sweep, tmp_path, capsys):
    assert main([str(sweep), "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert all(0 < file.stat().st_size < 200_000 for file in (tmp_path / "out").iterdir())
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Data: digits (1437 train, 360 test images)" in report and "torch 2.15.0" in report and "n = 3" in report
    for image in re.findall(r"!\[.*]\((.*)\)", report):
        assert (tmp_path / "out" / image).is_file()


def test_the_same_runs_give_the_same_report(sweep, tmp_path):
    first, second = write_report([sweep], tmp_path / "1"), write_report([sweep], tmp_path / "2")
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in FILES)


def test_the_csv_holds_mean_and_deviation_in_full(sweep, tmp_path):
    with open(write_report([sweep], tmp_path / "out") / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["alpha"]) for row in rows] == [1, 10, 1000, math.inf]
    for row, cell in zip(rows, read_sweep([sweep]).cells, strict=True):
        assert (row["seeds"], row["n"], row["status"]) == ("0 1 2", "3", "finished")
        for key in ("train_accuracy", "test_accuracy", "displacement", "ntk_drift", "seconds"):
            values = [member.summary[key] for member in cell.members]
            assert float(row[f"{key}_mean"]) == pytest.approx(statistics.mean(values), rel=1e-12)
            assert float(row[f"{key}_std"]) == pytest.approx(statistics.stdev(values), abs=1e-15)


def test_the_report_lists_what_is_missing(train, sweep, tmp_path):
    train(0.1, seed=0, status="diverged", epochs=2)
    train(0.1, seed=1, status="interrupted", epochs=3)
    killed = train(0.1, seed=2, status=None, epochs=1)
    train(100.0, seed=1, results={"ntk_drift": None})
    report = (write_report([sweep], tmp_path / "out") / "report.md").read_text()
    missing = report.partition("## Missing or incomplete")[2].partition("##")[0].strip().splitlines()
    assert missing[0].startswith("- alpha = 0.1, seed 0: diverged at epoch 2 of 4 (")
    assert missing[1].startswith("- alpha = 0.1, seed 1: interrupted at epoch 3 of 4 (")
    assert (
        missing[2] == f"- alpha = 0.1, seed 2: no summary, so still running or killed; at epoch 1 of 4 ({killed.path})"
    )
    assert missing[3:] == ["- alpha = 100: no run with seed 0, 2"]
    assert "| 0.1 | 0 | 1 diverged, 1 interrupted, 1 unfinished |" in report
    assert "| 100 | 1 | finished |" in report


def test_a_complete_sweep_lacks_nothing(sweep, tmp_path):
    report = (write_report([sweep], tmp_path / "out") / "report.md").read_text()
    assert "## Missing or incomplete\n\nNothing.\n" in report


def test_series_have_a_table_of_what_differs(train, sweep, tmp_path):
    train(1.0, **{"optimizer.lr": 0.1})
    report = (write_report([sweep], tmp_path / "out") / "report.md").read_text()
    assert "| series | optimizer.lr |" in report and "| optimizer.lr=0.1 | 0.1 |" in report


def test_published_numbers_say_whether_they_compare(train, sweep, tmp_path):
    report = (write_report([sweep], tmp_path / "1") / "report.md").read_text()
    assert "| VGG-11 wide, linearized | 61.0 | 61.7 |" in report and "arXiv:1812.07956" in report
    assert "not comparable with runs on digits" in report
    train(1.0, folder="cifar", **{"data.name": "cifar10"})
    assert "not comparable" not in (write_report([tmp_path / "cifar"], tmp_path / "2") / "report.md").read_text()


@pytest.mark.parametrize("where, reason", [("empty", "no run directory"), ("nowhere", "does not exist")])
def test_an_error_is_one_line(tmp_path, capsys, where, reason):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / where), "-o", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and reason in captured.err
    assert not (tmp_path / "out").exists()


def test_help_names_what_it_writes(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    assert "report.md" in capsys.readouterr().out


def test_the_report_leaves_pyplot_alone():
    code = "import sys, lazytorch.reports.cli; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "alpha, text",
    [(1.0, "1"), (0.5, "0.5"), (100.0, "100"), (1e7, "1e7"), (2.5e4, "2.5e4"), (1e-3, "1e-3"), (math.inf, "∞")],
)
def test_alpha_is_spelled_short(alpha, text):
    assert spell_alpha(alpha) == text
