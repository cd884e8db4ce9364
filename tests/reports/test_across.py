"""What is published of several experiments, beside the runs of all of them."""

import pytest

from lazytorch.reports import Bars, Chosen, Published, PublishedRow, Report, Table, write_report
from lazytorch.reports.across import comparisons
from lazytorch.reports.bars import draw_bars
from lazytorch.reports.reading import read_runs
from lazytorch.reports.sections import sections

PUBLISHED = Published(
    "Table 7",
    "the source",
    rows=(
        PublishedRow("nets", {"test_accuracy": 0.9}, where={"_target_": "a.Nets", "alpha": 1.0}),
        PublishedRow("features", {"test_accuracy": 0.8}, where={"_target_": "a.Features"}),
        PublishedRow("nobody", {"test_accuracy": 0.7}, where={"_target_": "a.Nobody"}),
        PublishedRow("unknown", {"train_accuracy": 0.6}),
    ),
)
REPORT = Report(Table("summary"), Bars("bars", "test_accuracy", PUBLISHED, caption="Published and ours."))


@pytest.fixture
def both(write):
    for seed in range(3):
        write({"seed": seed, "alpha": 1.0}, {"test_accuracy": 0.85 + seed / 100}, report=REPORT, base=base("a.Nets"))
        write({"seed": seed, "alpha": 9.0}, {"test_accuracy": 0.1}, report=REPORT, base=base("a.Nets"))
    write({"seed": 0, "filters": 9}, {"test_accuracy": 0.65}, report=REPORT, base=base("a.Features"))


def base(target):
    return {"_target_": target}


def found(folder):
    own = sections(read_runs([folder])[0])
    return own + comparisons(own)


def test_rows_meet_the_runs_of_all_experiments(both, tmp_path):
    *own, together = found(tmp_path)
    assert [section.target for section in own] == ["a.Features", "a.Nets"] and together.title == "Table 7"
    assert sorted((run.target, run.fields.get("alpha")) for run in together.runs if run.seed == 0) == [
        ("a.Features", None),
        ("a.Nets", 1.0),
    ]
    canvas, notes = draw_bars(together, together.report.items[0])
    texts = [text.get_text() for text in canvas.axes[0].texts]
    assert notes == [] and texts == [
        "90.0  published",
        "86.0  ours, n = 3",
        "80.0  published",
        "65.0  ours, n = 1",
        "70.0  published",
    ]
    widths = [round(bar.get_width(), 9) for bar in canvas.axes[0].patches]
    assert widths == [90, 86, 80, 65, 70]


def test_report_shows_them_in_a_section_of_its_own(both, tmp_path):
    out = write_report([tmp_path / "runs"], tmp_path / "out")
    text = (out / "report.md").read_text()
    assert "\n## Table 7\n" in text and (out / "Table-7-bars.png").exists()
    section = text.partition("\n## Table 7\n")[2]
    row = next(line for line in section.splitlines() if line.startswith("| features"))
    assert "80.0 | 65.0 | -15.0" in row


def test_a_run_that_is_also_among_the_best_is_drawn_once(write, tmp_path):
    report = Report(Chosen("lr", "validation_accuracy", Table()), *REPORT.items)
    for lr in (0.1, 1.0):
        accuracies = {"test_accuracy": lr / 2, "validation_accuracy": lr / 2}
        write({"seed": 0, "alpha": 1.0, "lr": lr}, accuracies, report=report, base=base("a.Nets"))
    write({"seed": 0, "filters": 9}, {"test_accuracy": 0.65}, report=report, base=base("a.Features"))
    text = (write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text()
    section = text.partition("\n## Table 7\n")[2]
    rows = [line for line in section.splitlines() if line.startswith("| nets")]
    assert len(rows) == 2 and all(any(f"lr={lr}" in row for row in rows) for lr in ("0.1", "1")), section


def test_one_experiment_alone_has_its_bars_and_no_section_more(write, tmp_path):
    write({"seed": 0}, {"test_accuracy": 0.65}, report=REPORT, base=base("a.Features"))
    (section,) = found(tmp_path)
    assert draw_bars(section, section.report.items[1])[0] is not None


def test_runs_of_one_row_are_told_apart_by_what_varies_among_them(both, write, tmp_path):
    write({"seed": 0, "filters": 99}, {"test_accuracy": 0.7}, report=REPORT, base=base("a.Features"))
    together = found(tmp_path)[-1]
    texts = [text.get_text() for text in draw_bars(together, together.report.items[0])[0].axes[0].texts]
    assert texts[3:5] == ["65.0  ours, n = 1, filters=9", "70.0  ours, n = 1, filters=99"]


def test_nothing_is_drawn_of_no_run(write, tmp_path):
    write({"seed": 0}, status=None, report=REPORT, base=base("a.Features"))
    (section,) = found(tmp_path)
    canvas, notes = draw_bars(section, section.report.items[1])
    assert canvas is None and notes == ["None of these runs, finished, is one that the published rows describe."]


def test_bars_are_plain_data_and_come_back():
    assert Report.from_dict(REPORT.to_dict()) == REPORT
    with pytest.raises(TypeError, match="cannot hold 3"):
        Bars("bars", "test_accuracy", 3)
