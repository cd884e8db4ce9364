import json
import math
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from lazytorch.reports import Claim, Figure, Panel, Published, PublishedRow, Report, Table, write_report
from lazytorch.reports.cli import main
from lazytorch.reports.document import escape_markdown

NAMES = ("accuracy", "curves", "drift", "linearization")
FILES = [".report.json", "report.html", "report.md", "table.csv"] + [
    f"{name}.{kind}" for name in NAMES for kind in ("pdf", "png")
]
RATES = {"_target_": "lazytorch.experiments.Rates"}
RATES_REPORT = Report(
    Figure("rates", Panel("rates", "alpha", "gap", guides=(-1,)), caption="Gaps fall."), Table("rates")
)


class Page(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


def small(write, seed=0, **options):
    """A run whose report is drawn fast: one small figure."""
    options = {"base": RATES, "report": RATES_REPORT, "tables": {"rates": [{"alpha": 1.0, "gap": 1.0}]}} | options
    return write({"seed": seed} | options.pop("changed", {}), options.pop("summary", None), **options)


def part(report, heading):
    return report.partition(f"### {heading}\n")[2].partition("\n#")[0].strip()


def test_the_command_writes_everything_and_prints_where(sweep, tmp_path, capsys):
    assert main([str(sweep), "-o", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == str(tmp_path / "out") and "12 runs" in captured.err
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(FILES)
    assert all(0 < file.stat().st_size < 200_000 for file in (tmp_path / "out").glob("*.png"))
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Data: digits (1437 train, 360 test). Model: vgg11. Device: cpu. Precision: float32. torch: 2.15.0" in report
    assert "Runs: 12. Seeds: n = 3." in report and "not recorded" not in report
    for image in re.findall(r"!\[.*]\((.*)\)", report):
        assert (tmp_path / "out" / image).is_file()
    assert "- Nothing." in part(report, "Missing or incomplete")


def test_the_page_needs_nothing_else(write, tmp_path):
    small(write)
    page = Page((write_report([tmp_path / "runs"], tmp_path / "out") / "report.html").read_text())
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert image["src"].startswith("data:image/png;base64,")
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    values = [value or "" for _, attributes in page.tags for value in attributes.values()]
    assert not [value for value in values if "//" in value and not value.startswith("data:")]
    assert "Gaps fall." in page.words


def test_the_same_runs_give_the_same_report(write, tmp_path):
    small(write)
    first, second = (write_report([tmp_path / "runs"], tmp_path / name) for name in "ab")
    names = sorted(file.name for file in first.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names) and "rates.pdf" in names


def test_experiments_are_sections_and_their_figures_are_told_apart(write, train, tmp_path):
    small(write)
    small(write, base={"_target_": "mine.Other"})
    train(1.0, report=Report(Table()))
    out = write_report([tmp_path / "runs"], tmp_path / "out")
    report = (out / "report.md").read_text()
    assert re.findall("^## (.*)$", report, re.MULTILINE) == ["Rates", "Training", "Other"]
    assert sorted(file.name for file in out.glob("*.png")) == ["Other-rates.png", "Rates-rates.png"]
    assert {line.split(",")[0] for line in (out / "table.csv").read_text().splitlines()[1:]} == {
        "Rates",
        "Training",
        "Other",
    }


def test_the_report_lists_what_is_missing(train, tmp_path):
    quick = {"report": Report()}
    for seed in range(3):
        train(1.0, seed, **quick)
    train(0.1, 0, status="diverged", epochs=2, **quick)
    train(0.1, 1, status="interrupted", epochs=3, **quick)
    killed = train(0.1, 2, status=None, epochs=1, **quick)
    train(100.0, 1, status="failed", epochs=0, results={"error": "out of memory: buy more"}, **quick)
    report = (write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text()
    missing = part(report, "Missing or incomplete").splitlines()
    assert missing[0].startswith("- alpha = 0.1, seed 0: diverged at epoch 2 of 4 (")
    assert missing[1].startswith("- alpha = 0.1, seed 1: interrupted at epoch 3 of 4 (")
    where = escape_markdown(str(killed.path))
    assert missing[2] == f"- alpha = 0.1, seed 2: no summary, so still running or killed; at epoch 1 of 4 ({where})"
    assert missing[3].startswith("- alpha = 100, seed 1: failed at epoch 0 of 4: out of memory: buy more (")
    assert missing[4:] == ["- alpha = 100: no run with seed 0, 2"]
    assert "| 0.1 | 0 | 1 diverged, 1 interrupted, 1 unfinished |" in report


def test_what_could_not_be_measured_is_said_with_its_reason(write, tmp_path):
    for seed in range(2):
        small(write, seed, summary={"not_measured": {"activation_stability": "no ReLU in this network"}})
    report = (write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text()
    assert "- not measured: activation stability: no ReLU in this network (2 of 2 runs)" in report


def test_a_figure_that_nothing_was_measured_for_is_left_out_and_named(write, tmp_path):
    small(write, tables={})
    out = write_report([tmp_path / "runs"], tmp_path / "out")
    report = (out / "report.md").read_text()
    assert not list(out.glob("*.png")) and "Figure rates is left out. No gap: not measured in any" in report


def test_verdicts_stand_by_runs(write, tmp_path):
    for seed, verdict in enumerate(("lazy", "lazy", "not lazy: 3 % moved")):
        small(write, seed, summary={"verdict": verdict})
    rows = part((write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text(), "Verdicts")
    assert rows.splitlines()[2:] == ["| the run | 0, 1 | lazy |", "| the run | 2 | not lazy: 3 % moved |"]


def test_claims_are_counted_over_seeds(write, tmp_path):
    report = Report(Claim("it falls", source="Section 2"), Claim("it is stated"))
    for seed, held in enumerate((True, True, False, None)):
        small(write, seed, report=report, summary={"claims": [{"text": "it falls", "held": held, "source": "x"}]})
    small(write, 9, report=report, status="failed", summary={"claims": [{"text": "it falls", "held": False}]})
    rows = part((write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text(), "Claims").splitlines()
    assert rows[2:] == [
        "| it falls | Section 2 | the run | held in 2 of 4, not held in 1 of 4, hypotheses not met in 1 of 4 |",
        "| it is stated |  | – | not checked by any finished run |",
    ]


def test_published_numbers_are_in_the_report(write, tmp_path):
    row = PublishedRow("theirs", {"gap": 0.5}, where={"seed": 0})
    report = Report(
        Published("Table 1", "A. Author", (row,), text="It works."), Published("Figure 2", "B", protocol={"x": 1})
    )
    small(write, summary={"gap": 0.75}, report=report)
    text = (write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text()
    assert "Source: A. Author. It works." in part(text, "Published: Table 1")
    assert "| theirs | 0.5 | 0.75 | +0.25 | 1 |  |" in part(text, "Published: Table 1")
    assert "Not comparable: x is not set (1 there)." in part(text, "Published: Figure 2")


def test_the_protocol_of_the_paper_is_held_against_the_runs(sweep, tmp_path):
    report = (write_report([sweep], tmp_path / "out") / "report.md").read_text()
    assert "| VGG-11 wide, linearized | 61.0 | – | – | 61.7 | – | – | 0 | no such run |" in report
    assert "arXiv:1812.07956" in report and "data.name is digits (cifar10 there)" in report


def test_runs_that_say_nothing_are_shown_as_training(train, tmp_path):
    train(1.0, report=None)
    report = (write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text()
    assert "do not say what their report shows" in report and "![accuracy](accuracy.png)" in report


def test_a_run_of_a_script_says_what_it_recorded_under_other_names(write, tmp_path):
    base = {"_target_": "lazytorch.Trainer", "alpha": 1.0, "device": "cpu", "precision": "float64", "epochs": 3}
    about = {"model": "MyNet", "train_size": 50, "test_size": 10}
    write({"alpha": 1.0, "seed": 0}, base=base, about=about, report=Report())
    report = (write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text()
    assert "Data: given by the script (50 train, 10 test). Model: MyNet. Device: cpu. Precision: float64." in report
    assert "not recorded" not in report


HOSTILE = "<script>alert(1)</script> $x_1$ | **bold** [link](http://a) `code` & $"


def test_whatever_names_hold_is_shown_as_it_is(write, tmp_path):
    report = Report(Figure("<b>$a$", Panel("rates", "alpha", "gap", title=HOSTILE), caption=HOSTILE), Claim(HOSTILE))
    small(write, report=report, changed={"note": HOSTILE}, title=HOSTILE, text=HOSTILE, summary={"verdict": HOSTILE})
    small(write, report=report, changed={"note": "other"}, status="failed", summary={"error": HOSTILE})
    out = write_report([tmp_path / "runs"], tmp_path / "out")
    page = Page((out / "report.html").read_text())
    assert not {"script", "b", "a"} & {tag for tag, _ in page.tags}
    assert HOSTILE in page.words
    text = (out / "report.md").read_text()
    assert "<script>" not in text and not re.search(r"(?<!\\)\]\(http", text)
    assert r"\$x\_1\$ \| \*\*bold\*\* \[link\](http://a) \`code\` &amp; \$" in text
    assert {file.name for file in out.glob("*.png")} == {"b-a.png"}


@pytest.mark.parametrize(
    "text, escaped",
    [
        ("a_b*c", r"a\_b\*c"),
        ("# no heading", r"\# no heading"),
        ("- no list", r"\- no list"),
        ("12. no list", r"12\. no list"),
        ("12.5", "12.5"),
        ("-5", "-5"),
        ("a|b", r"a\|b"),
        ("two\n\nlines", "two lines"),
        ("<i>&", "&lt;i&gt;&amp;"),
        (r"\$", r"\\\$"),
    ],
)
def test_markdown_is_escaped(text, escaped):
    assert escape_markdown(text) == escaped


def test_bad_directories_are_left_out_by_name_and_the_others_drawn(write, tmp_path, capsys):
    small(write, 0)
    bad, old = small(write, 1), tmp_path / "runs" / "old"
    (bad.path / "summary.json").write_text("{")
    old.mkdir()
    (old / "config.yaml").write_text("alpha: 1\ndata_fingerprint: {}\n")
    assert main([str(tmp_path / "runs"), str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")]) == 0
    err = [line for line in capsys.readouterr().err.splitlines() if "left out: " in line]
    assert len(err) == 3 and all(line.startswith("lazytorch-report: left out: ") for line in err)
    report = (tmp_path / "out" / "report.md").read_text()
    section = report.partition("## Left out\n\n")[2].splitlines()
    assert len(section) == 3
    assert any("layout of lazytorch 0.1" in line for line in section)
    assert any(escape_markdown(str(bad.path)) in line and "not JSON" in line for line in section)
    assert any("does not exist" in line for line in section)


@pytest.mark.parametrize("where, reason", [("empty", "no run directory"), ("nowhere", "does not exist")])
def test_with_nothing_to_draw_the_command_fails(tmp_path, capsys, where, reason):
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / where), "-o", str(tmp_path / "out")]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and reason in captured.err and not (tmp_path / "out").exists()


def test_a_run_directory_is_no_folder_for_a_report(write, capsys):
    run = small(write)
    assert main([str(run.path), "-o", str(run.path)]) == 1
    assert "is a run directory; give another folder" in capsys.readouterr().err


def test_a_report_replaces_the_figures_of_the_former_one_and_nothing_else(write, tmp_path):
    small(write, 0)
    out = tmp_path / "out"
    write_report([tmp_path / "runs"], out)
    for name in ("mine.png", "notes.txt"):
        (out / name).write_text("mine")
    (tmp_path / "outside.png").write_text("mine")
    listed = json.loads((out / ".report.json").read_text())
    (out / ".report.json").write_text(json.dumps([*listed, "../outside.png", "notes.txt", 3]))
    small(write, 1, base={"_target_": "mine.Other"})
    write_report([tmp_path / "runs"], out)
    assert sorted(file.name for file in out.glob("*.p*")) == [
        "Other-rates.pdf",
        "Other-rates.png",
        "Rates-rates.pdf",
        "Rates-rates.png",
        "mine.png",
    ]
    assert (out / "notes.txt").exists() and (tmp_path / "outside.png").exists()


def test_a_damaged_list_of_files_is_no_obstacle(write, tmp_path):
    small(write)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".report.json").write_text("{")
    assert (write_report([tmp_path / "runs"], tmp_path / "out") / "rates.png").exists()


def test_one_path_may_be_given_without_a_list(write, tmp_path):
    small(write)
    assert (write_report(str(tmp_path / "runs"), tmp_path / "out") / "report.md").exists()


def test_series_have_a_table_of_what_differs(train, tmp_path):
    train(1.0, report=Report())
    train(math.inf, changed={"optimizer.lr": 0.1}, report=Report())
    rows = part((write_report([tmp_path / "runs"], tmp_path / "out") / "report.md").read_text(), "Series")
    assert rows.splitlines() == [
        "| series | optimizer.lr |",
        "| --- | --- |",
        "| lr=0.1 | 0.1 |",
        "| lr=1 | 1 |",
    ]


def test_help_names_what_it_writes(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--help"])
    assert exit.value.code == 0
    assert "report.html" in capsys.readouterr().out


def test_drawing_leaves_pyplot_alone(write, tmp_path):
    small(write)
    code = (
        "import sys; from lazytorch.reports import write_report; "
        f"write_report([{str(tmp_path / 'runs')!r}], {str(tmp_path / 'out')!r}); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
