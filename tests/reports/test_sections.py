import math
import os

import pytest

from lazytorch.reports import Figure, Panel, Report, Table
from lazytorch.reports.reading import read_runs
from lazytorch.reports.sections import sections
from lazytorch.reports.tables import series_label


def series(section):
    """label -> number of runs at each alpha."""
    found = {}
    for group in section.groups:
        found.setdefault(series_label(section, group), []).append(len(group.runs))
    return found


def test_seeds_are_one_group_and_alphas_one_series(sweep, only):
    section = only(sweep)
    assert series(section) == {"": [3, 3, 3, 3]} and section.varying == ["alpha"]
    assert [group.settings["alpha"] for group in section.groups] == [1, 10, 1000, math.inf]
    assert all([run.seed for run in group.runs] == [0, 1, 2] for group in section.groups)


def test_series_are_named_by_as_few_settings_as_tell_them_apart(train, sweep, only):
    train(1.0, changed={"model._target_": "lazytorch.models.resnet18", "model.width": 0.5})
    section = only()
    assert list(series(section)) == ["model=resnet18", "model=vgg11"]
    assert section.varying == ["alpha", "model._target_", "model.width"]


def test_a_default_that_is_written_out_is_the_same_setting(train, only):
    """The runs differ in what they count as changed, not in their learning rate."""
    train(1.0, seed=0, changed={"optimizer.lr": 1.0})
    train(1.0, seed=1)
    assert series(only()) == {"": [2]}


def test_what_does_not_count_for_the_result_makes_no_series(write, only):
    for seed, device in enumerate(("cpu", "cuda")):
        write({"alpha": 1.0, "seed": seed}, base={"_target_": "a.B", "device": device, "epochs": 4 + seed})
    assert series(only()) == {"": [2]}


def test_a_column_is_known_by_its_last_part(train, only):
    train(1.0, changed={"optimizer.lr": 0.1})
    section = only()
    assert section.resolve("lr") == section.resolve("optimizer.lr") == "optimizer.lr"
    assert section.resolve("model") == "model._target_" and section.resolve("unheard_of") is None


def test_of_two_fields_with_one_last_part_the_changed_one_is_meant(write, only):
    base = {"_target_": "a.B", "teacher": {"width": 3}, "model": {"width": 4}}
    write({"seed": 0, "model.width": 5}, base=base)
    assert only().resolve("width") == "model.width"


def test_experiments_are_sections_with_names_of_their_own(write, tmp_path):
    for target in ("lazytorch.experiments.Training", "mine.Training", "mine.Rates"):
        write({"seed": 0}, base={"_target_": target})
    runs, _ = read_runs([tmp_path])
    assert {one.target: one.name for one in sections(runs)} == {
        "lazytorch.experiments.Training": "Training",
        "mine.Rates": "Rates",
        "mine.Training": "Training-2",
    }


def test_a_section_is_called_what_its_reports_say(write, only):
    write({"seed": 0}, report=Report(), name="../rates of $x$", title="How fast", text="In words.")
    section = only()
    assert (section.name, section.title, section.text) == ("rates-of-x", "How fast", "In words.")


def test_reports_that_differ_are_shown_together(write, only):
    for seed, y in enumerate(("gap", "gap", "bound")):
        report = Report(Figure("rates", Panel("rates", "alpha", y)), Table("rates"))
        write({"seed": seed}, report=report)
    items = only().report.items
    assert sorted(item.name for item in items if isinstance(item, Figure)) == ["rates", "rates-2"]
    assert len([item for item in items if isinstance(item, Table)]) == 1


def test_only_the_series_that_met_other_data_is_split(train, only):
    """Runs of the data of another seed are no other data: seeded data differ for every seed."""
    for lr in (0.1, 1.0):
        for alpha in (1.0, 10.0):
            for seed in (0, 1):
                train(alpha, seed, changed={"optimizer.lr": lr}, fingerprints={"train": f"of {seed}"})
    train(1.0, 0, changed={"optimizer.lr": 0.1}, folder="there", fingerprints={"train": "dogs"})
    assert series(only()) == {"lr=0.1": [2, 2], "lr=0.1, other data": [1], "lr=1": [2, 2]}


def test_data_of_most_runs_are_a_series_own(train, only):
    train(1.0, 0, folder="a", fingerprints={"train": "dogs"})
    for alpha in (1.0, 10.0):
        for seed in (0, 1):
            train(alpha, seed, folder="b", fingerprints={"train": "cats"})
    section = only()
    assert series(section) == {"": [2, 2], "other data": [1]}
    (other,) = [group for group in section.groups if series_label(section, group)]
    assert other.runs[0].path.parent.name == "a"


def test_runs_of_one_seed_on_other_data_at_another_scale_stay_together(train, only):
    train(1.0, 0, fingerprints={"train": "cats"})
    train(10.0, 0, fingerprints={"train": "dogs"})
    assert series(only()) == {"": [1, 1]}


def test_another_network_is_named_as_such(train, only):
    train(1.0, 0, folder="a", fingerprints={"train": "cats", "network": "one"})
    train(1.0, 0, folder="b", fingerprints={"train": "cats", "network": "two"})
    assert series(only()) == {"": [1], "other network": [1]}


def test_a_network_edited_between_members_of_a_sweep_is_another(train, only):
    for alpha, network in ((1.0, "one"), (10.0, "two"), (100.0, "one")):
        train(alpha, 0, fingerprints={"train": "cats", "network": network})
    assert series(only()) == {"": [1, 1], "other network": [1]}


def test_a_part_that_one_run_did_not_record_tells_nothing(train, only):
    train(1.0, 0, folder="a", fingerprints={"train": "cats", "network": "one"})
    train(1.0, 0, folder="b", fingerprints={"train": "cats"})
    assert len(only().repeated) == 1


def test_a_repeated_run_counts_once_and_the_finished_one_counts(train, only):
    killed = train(1.0, folder="a", status=None)
    train(1.0, folder="b")
    section = only()
    (run,) = section.runs
    assert run.status == "finished" and section.repeated == [killed.path]


def test_only_finished_runs_have_results(train, only):
    for seed, status in enumerate(("finished", "diverged", "interrupted", None)):
        train(1.0, seed, status)
    (group,) = only().groups
    assert len(group.runs) == 4 and len(group.results("test_accuracy")) == 1


def test_what_the_summary_lacks_comes_from_the_last_evaluation(write, only):
    rows = [{"epoch": e, "alpha": 1.0, "mine": 0.1 * e, "test_accuracy": 0.1} for e in range(3)]
    write({"alpha": 1.0, "seed": 0}, {"test_accuracy": None, "deep": {"largest": 2}}, metrics=rows)
    (group,) = only().groups
    assert (
        group.results("mine") == [0.2] and group.results("deep.largest") == [2] and not group.results("test_accuracy")
    )


def damage(run, file, text):
    (run.path / file).write_text(text)


@pytest.mark.parametrize(
    "file, text, words",
    [
        ("config.yaml", "layout: 2\n- a", "not YAML"),
        ("config.yaml", "layout: 2\nchanged: {seed: 0}\n", "no _target_"),
        ("config.yaml", "layout: 2\n_target_: a.B\n", "no changed"),
        ("config.yaml", "alpha: 1\ndata_fingerprint: {}\n", "layout of lazytorch 0.1"),
        ("summary.json", "{", "not JSON"),
        ("summary.json", '{"status": "happy"}', "status"),
        ("metrics.jsonl", "[1]\n", "not a mapping"),
        ("report.json", '{"items": [{"kind": "Pie"}]}', "no item of kind"),
        ("report.json", '{"quantities": {"a": {"percent": "very"}}}', "the quantity a has percent='very'"),
        ("report.json", '{"quantities": {"a": {"digits": ".999999999f"}}}', "the quantity a has digits"),
        ("rates.csv", "a,b\n1\n", "row 1"),
    ],
)
def test_a_damaged_run_is_left_out_by_name(write, tmp_path, file, text, words):
    report = Report(Figure("rates", Panel("rates", "a", "b")))
    bad = write({"seed": 0}, report=report, metrics=[{"epoch": 0}], tables={"rates": [{"a": 1, "b": 2}]})
    write({"seed": 1}, report=report)
    damage(bad, file, text)
    runs, left_out = read_runs([tmp_path])
    assert [run.seed for run in runs] == [1]
    ((path, reason),) = left_out
    assert path == str(bad.path) and words in reason and "\n" not in reason


def test_a_pipe_does_not_hang(write, tmp_path):
    bad = write({"seed": 0})
    (bad.path / "summary.json").unlink()
    os.mkfifo(bad.path / "summary.json")
    runs, left_out = read_runs([tmp_path])
    assert not runs and "not a regular file" in left_out[0][1]


def test_a_path_that_is_not_there_is_left_out(write, tmp_path):
    write({"seed": 0})
    runs, left_out = read_runs([tmp_path / "runs", tmp_path / "nowhere", tmp_path])
    assert len(runs) == 1 and "does not exist" in left_out[0][1]


def test_a_quantity_of_the_runs_own(write, only):
    write({"seed": 0}, {"mine": 0.5}, report=Report(), quantities={"mine": {"label": "my share", "percent": True}})
    quantity = only().quantity("mine")
    assert quantity.title == "my share (%)" and quantity.spell(0.5) == "50.0"
    assert only().quantity("images.mine").title == "images my share (%)"
