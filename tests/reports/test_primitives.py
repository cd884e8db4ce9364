import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

import lazytorch
from lazytorch.reports import (
    TRAINING,
    Claim,
    Figure,
    HeatMap,
    Panel,
    Plane,
    Published,
    PublishedRow,
    Report,
    Table,
    read_item,
)

ITEMS = [
    Panel("rates", x="alpha", y=("displacement", "gap"), guides=(-1, -2), bounds=("bound",), where={"alpha": math.inf}),
    Panel("curves", "step", "predicted", by="seed", marks="measured", xscale="log", yscale="linear", title="losses"),
    HeatMap("summary", "alpha", "lr", "test_accuracy", where={"loss": "mse"}),
    Figure("rates", Panel("rates", "alpha", "gap"), HeatMap("grid", "x", "y", "z"), caption="Gaps."),
    Figure("paths", Plane("paths", "u", "v", by="neuron", each="tau", sign="sign", rays="teacher")),
    Table("rates", columns=("alpha", "gap"), title="Rates"),
    Claim("it falls", source="Section 2"),
    PublishedRow("linearized", {"test_accuracy": 0.6, "train_accuracy": None}, where={"alpha": 1e7}),
    Published("Figure 3", "a paper", [PublishedRow("one", {"test_accuracy": 0.5})], protocol={"epochs": 70}),
    TRAINING,
]


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: type(item).__name__)
def test_a_primitive_is_plain_data_and_back(item):
    text = json.dumps(item.to_dict(), allow_nan=False)
    again = type(item).from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    assert type(again) is type(item)


def test_equal_primitives_have_equal_hashes():
    assert hash(Panel("a", "x", "y", where={"b": 1})) == hash(Panel("a", "x", ["y"], where={"b": 1}))
    assert Panel("a", "x", "y") == Panel("a", "x", ("y",)) != Panel("a", "x", "z")


def test_a_claim_leaves_its_check_with_the_experiment():
    claim = Claim("slope is -1", lambda summary: abs(summary["slope"] + 1) < 0.1, source="Section 2")
    report = Report(claim, Table())
    assert report.claims == (claim,) and report.claims[0].check({"slope": -1.05})
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))).claims[0].check is None


def test_a_report_is_read_from_the_record_of_a_run():
    record = TRAINING.to_dict() | {"name": "figure3a", "text": "words", "quantities": {}}
    assert Report.from_dict(record) == TRAINING


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Panel("a", "x", ()), "name at least one column"),
        (lambda: Panel("a", "x", 3), "give the name of a column"),
        (lambda: Panel(3, "x", "y"), "table=3.*give a string"),
        (lambda: Panel("a", "x", "y", guides=("steep",)), "give slopes"),
        (lambda: Panel("a", "x", "y", yscale="loglog"), "'linear', 'log' or None"),
        (lambda: Panel("a", "x", "y", where={"alpha": math.nan}), "give a number, a string or None"),
        (lambda: Figure("", Panel("a", "x", "y")), "has no name"),
        (lambda: Figure("one", Table()), "cannot hold"),
        (lambda: Report(Panel("a", "x", "y")), "cannot hold"),
        (lambda: Claim("it holds", check=True), "give a function of the summary"),
        (lambda: PublishedRow("one", {"test_accuracy": "high"}), "give a number, or None"),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(make, words):
    with pytest.raises((TypeError, ValueError), match=words):
        make()


@pytest.mark.parametrize(
    "document, words",
    [
        (None, "no item of kind"),
        ({"kind": "Pie"}, "no item of kind 'Pie'"),
        ({"kind": "Panel", "table": "a", "x": "x", "y": "y", "code": "boom"}, "no field 'code'"),
        ({"kind": "Panel", "table": "a"}, "Panel in a report"),
        ({"kind": "Figure", "name": "a", "panels": [{"kind": "Table"}]}, "cannot hold"),
        ({"kind": "Figure", "name": "a", "panels": 3}, "Figure in a report"),
        ({"kind": [], "name": "a"}, "no item of kind"),
    ],
)
def test_a_damaged_document_is_a_value_error(document, words):
    with pytest.raises(ValueError, match=words):
        read_item(document)
    with pytest.raises(ValueError):
        Report.from_dict({"items": [document]})


def test_declaring_a_report_needs_neither_matplotlib_nor_torch():
    package = str(Path(lazytorch.__file__).parent)
    code = (
        "import sys, types\n"
        f"package = types.ModuleType('lazytorch'); package.__path__ = [{package!r}]\n"
        "sys.modules['lazytorch'] = package\n"
        "import lazytorch.reports, lazytorch.reports.writer\n"
        "lazytorch.reports.TRAINING.to_dict()\n"
        "sys.exit(str({'matplotlib', 'torch', 'PIL'} & set(sys.modules)) if {'matplotlib', 'torch', 'PIL'} & "
        "set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
