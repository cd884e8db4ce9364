import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lazytorch
from lazytorch.runs import RunDirectory, to_json, write_atomically

FINISHED = {"status": "finished"}
ROOMS = str(Path(lazytorch.__file__).parent)


def test_config_comes_back_in_the_order_it_was_given(run):
    config = run.config
    assert list(config) == [
        "layout",
        "_target_",
        "seed",
        "alpha",
        "optimizer",
        "changed",
        "versions",
        "fingerprints",
        "about",
    ]
    assert config["layout"] == 2 and config["optimizer"] == {"lr": 1e-7} and config["alpha"] == math.inf
    assert config["changed"] == {"alpha": math.inf, "seed": 0}
    assert config["versions"] == {"torch": "2.15.0", "git": None, "device": "cpu"}
    assert config["about"] == {"classes": 10, "size": [1, 8, 8], "model": "VGG"}


def test_making_the_object_touches_no_file(tmp_path):
    run = RunDirectory(tmp_path / "a" / "b")
    assert not run.exists and run.summary is None and run.report is None and run.metrics == [] and run.tables == []
    run.check_fingerprints({"train": "ab"})
    assert list(tmp_path.iterdir()) == []


def test_it_exists_once_it_is_created(run, tmp_path):
    assert run.exists and RunDirectory(str(run.path)).exists
    (tmp_path / "config.yaml").write_text("alpha: 1\nmodel:\n  layout: 2\n")
    assert not RunDirectory(tmp_path).exists


def test_a_folder_without_a_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no config.yaml"):
        _ = RunDirectory(tmp_path).config


def test_the_same_parts_may_go_on(run, create):
    create(run.path, config={"epochs": 20})
    assert run.config["epochs"] == 20


@pytest.mark.parametrize(
    "part, words",
    [
        ("train", "on other training data"),
        ("test", "with other test data"),
        ("network", "with another network"),
        ("loss", "with another loss"),
    ],
)
def test_another_part_may_not_go_on(run, create, part, words):
    before = run.config
    with pytest.raises(ValueError, match=rf"trained {words} \(.*, not 99\); give .* name=\.\.\., or resume=false"):
        create(run.path, fingerprints=run.config["fingerprints"] | {part: "99"})
    assert run.config == before


def test_all_parts_that_differ_are_named_with_both_values(run):
    with pytest.raises(ValueError, match=r"other training data \(ab12, not 1\) and with another loss \(ef56, not 2\);"):
        run.check_fingerprints({"train": "1", "test": "ab13", "loss": "2"})


def test_a_part_that_is_not_given_is_not_compared_and_stays_recorded(run, create):
    run.check_fingerprints({})
    run.check_fingerprints({"another": "1"})
    create(run.path, fingerprints={"train": "ab12", "another": "1"})
    assert run.config["fingerprints"] == {"train": "ab12", "test": "ab13", "network": "cd34", "loss": "ef56"} | {
        "another": "1"
    }


def test_clear_leaves_nothing_of_a_former_run_but_the_lock(run, create):
    with run.lock():
        run.append({"epoch": 0})
        run.write_summary({"status": "finished"})
        run.write_report({"name": "training"})
        run.write_table("rates", [{"alpha": 1.0}])
        write_atomically(run.checkpoint("best"), lambda file: file.write(b"theta"))
        run.tensorboard.mkdir()
        (run.tensorboard / "events").write_bytes(b"")
        run.clear()
    assert [path.name for path in run.path.iterdir()] == [".lock"]
    create(run.path, fingerprints={"train": "99"})
    assert run.metrics == [] and run.summary is None and run.report is None and run.tables == []
    assert run.config["fingerprints"] == {"train": "99"}


def test_clear_begins_with_the_summary(run, monkeypatch):
    for name in ("summary.json", "metrics.jsonl", "report.json", "a.csv"):
        (run.path / name).write_text("")
    removed = []
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: removed.append(path.name))
    run.clear()
    assert removed[0] == "summary.json" and removed[-1] == "config.yaml" and "a.csv" in removed


def test_clear_removes_what_took_the_place_of_a_file_and_nothing_behind_a_link(run, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    run.tensorboard.symlink_to(elsewhere)
    (run.path / "summary.json" / "inside").mkdir(parents=True)
    run.clear()
    assert list(run.path.iterdir()) == [] and (elsewhere / "kept").exists()


def test_a_cleared_run_is_not_written_again_by_itself(run):
    run.clear()
    run.append({"epoch": 0})
    assert not run.exists


@pytest.mark.parametrize("write", [lambda run: run.append({"epoch": 0}), lambda run: run.write_summary(FINISHED)])
def test_a_config_that_vanished_is_written_again(run, write):
    text = (run.path / "config.yaml").read_text()
    (run.path / "config.yaml").unlink()
    write(run)
    assert (run.path / "config.yaml").read_text() == text


def test_a_run_that_was_removed_while_it_trained_comes_back_whole(run):
    (run.path / "config.yaml").unlink()
    run.path.rmdir()
    run.append({"epoch": 3})
    assert run.config["seed"] == 0 and run.metrics == [{"epoch": 3}]


def test_rows_are_strict_json(run):
    row = {"epoch": 0, "alpha": math.inf, "train_loss": math.nan, "by_layer": {"0": -math.inf, "1": None}, "x": [1.5]}
    run.append(row)
    strict = {"epoch": 0, "alpha": "inf", "train_loss": None, "by_layer": {"0": None, "1": None}, "x": [1.5]}
    text = (run.path / "metrics.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == strict
    assert text.count("\n") == 1 and run.metrics == [strict]


def test_only_alpha_of_a_record_and_of_its_rows_may_be_infinite():
    record = {"alpha": math.inf, "rows": [{"alpha": math.inf, "x": math.inf}], "by_layer": {"alpha": math.inf}}
    assert json.loads(to_json(record)) == {
        "alpha": "inf",
        "rows": [{"alpha": "inf", "x": None}],
        "by_layer": {"alpha": None},
    }
    assert json.loads(to_json({"alpha": -math.inf})) == {"alpha": None}


def test_summary_is_strict_json_and_an_infinite_alpha_stays_a_string(run):
    run.write_summary({"alpha": math.inf, "status": "diverged", "train_loss": math.inf})
    assert run.summary == {"alpha": "inf", "status": "diverged", "train_loss": None}


def test_the_report_comes_back(run):
    report = {"name": "rates", "title": "é", "items": [{"kind": "figure"}], "quantities": {"x": {"unit": None}}}
    run.write_report(report)
    assert run.report == report


def test_a_report_too_large_to_be_read_is_not_written(run):
    with pytest.raises(ValueError, match="report.json would be larger than 4 MiB; write tables instead"):
        run.write_report({"text": "x" * 2**22})
    assert run.report is None


@pytest.mark.parametrize("torn", ['{"epoch": 2', '{"epoch": 2}', "{", '{"epoch": 2, "name": "\\u00', "\0\0\0", b"\xc3"])
def test_a_torn_last_line_is_ignored_and_never_grown(run, torn):
    run.append({"epoch": 0})
    run.append({"epoch": 1})
    with open(run.path / "metrics.jsonl", "ab") as file:
        file.write(torn if isinstance(torn, bytes) else torn.encode())
    assert run.metrics == [{"epoch": 0}, {"epoch": 1}]
    run.append({"epoch": 2})
    assert run.metrics == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]


@pytest.mark.parametrize("length", [5, 4095, 4096, 4097, 10000])
def test_a_torn_first_line_is_ignored_however_long(run, length):
    (run.path / "metrics.jsonl").write_text("x" * length)
    assert run.metrics == []
    run.append({"epoch": 0})
    assert run.metrics == [{"epoch": 0}]


@pytest.mark.parametrize("length", [4095, 4096, 10000])
def test_a_long_torn_line_is_cut_off_after_the_last_whole_one(run, length):
    run.append({"epoch": 0})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write("x" * length)
    run.append({"epoch": 1})
    assert run.metrics == [{"epoch": 0}, {"epoch": 1}]


def test_rewritten_metrics_are_these_rows(run):
    for epoch in range(6):
        run.append({"epoch": epoch, "alpha": math.inf, "loss": 0.1 * epoch})
    whole = (run.path / "metrics.jsonl").read_bytes()
    rows = run.metrics
    run.rewrite_metrics(rows)
    assert (run.path / "metrics.jsonl").read_bytes() == whole
    run.rewrite_metrics(rows[:4])
    assert run.metrics == rows[:4]
    run.rewrite_metrics([])
    assert run.metrics == []


@pytest.mark.parametrize("row", [{}, {"epoch": None}, {"epoch": "1"}, {"epoch": True}, {"epoch": math.nan}, []])
def test_a_row_without_an_epoch_is_not_written(run, row):
    run.append({"epoch": 0})
    for write in (run.append, lambda row: run.rewrite_metrics([{"epoch": 1}, row])):
        with pytest.raises(ValueError, match="epoch is .*, not a number|is a list"):
            write(row)
    assert run.metrics == [{"epoch": 0}]


BAD_CONFIGS = [
    ({"alpha": -1.0}, "alpha is -1.0, not a number in"),
    ({"alpha": math.nan}, "alpha is nan, not a number in"),
    ({"alpha": "inf"}, "alpha is 'inf', not a number in"),
    ({"seed": 1.5}, "seed is 1.5, not an integer"),
    ({"model": {"width": {1, 2}}}, "is a set, not a plain value"),
    ({"model": Path("x")}, "is a PosixPath, not a plain value"),
    ({"changed": ["alpha"]}, "changed is .*, not a mapping"),
    ({"layout": 3}, "layout is 3"),
]


@pytest.mark.parametrize("config, words", BAD_CONFIGS)
def test_a_config_that_could_not_be_read_is_not_written(tmp_path, create, config, words):
    with pytest.raises(ValueError, match=words):
        create(tmp_path / "run", config=config)
    assert list(tmp_path.iterdir()) == []


def test_what_is_shared_in_a_config_is_written_twice(tmp_path, create):
    shared = {"lr": 1.0, "betas": [1, 2]}
    run = create(tmp_path, config={"a": shared, "b": shared, "changed": {"x": shared["betas"]}})
    text = (tmp_path / "config.yaml").read_text()
    assert "&" not in text and "*" not in text
    assert run.config["a"] == run.config["b"] == shared


def test_checkpoints_and_events_lie_in_the_run(run):
    assert run.checkpoint() == run.path / "checkpoints" / "last.pt"
    assert run.checkpoint("best") == run.path / "checkpoints" / "best.pt"
    assert run.tensorboard == run.path / "tensorboard"


LOADED = """
import sys
sys.path[:0] = sys.argv[1:]
import runs
names = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
print(*sorted(name for name in names if "cython" not in name and not name.startswith("_")))
"""


def test_the_room_needs_yaml_alone():
    command = [sys.executable, "-S", "-c", LOADED, ROOMS, str(Path(yaml.__file__).parents[1])]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() == ["runs", "yaml"]
