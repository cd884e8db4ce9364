"""Records that a crash, a hand or an enemy left: each is refused in one line that names file, reason and remedy."""

import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lazytorch.runs import RunDirectory

READ = {
    "config.yaml": lambda run: run.config,
    "summary.json": lambda run: run.summary,
    "report.json": lambda run: run.report,
    "metrics.jsonl": lambda run: run.metrics,
    "rates.csv": lambda run: run.table("rates"),
}
REMEDY = {
    "config.yaml": "; restore it, or remove {run} and train it again",
    "summary.json": "; remove it and start the run again, which goes on where it was",
    "report.json": "; remove it and start the run again, which goes on where it was",
    "metrics.jsonl": "; remove that line",
    "rates.csv": "; remove it and start the run again, which goes on where it was",
}
CONFIG = "layout: 2\n"
STATUS = '"status": "finished", '

DAMAGED = [
    ("config.yaml", "", "it is empty"),
    ("config.yaml", " \n\n", "it is empty"),
    ("config.yaml", "# nothing\n", "it is a NoneType, not a mapping"),
    ("config.yaml", "[1, 2]", "it is a list, not a mapping"),
    ("config.yaml", "layout", "it is a str, not a mapping"),
    ("config.yaml", "layout: {", "it is not YAML"),
    ("config.yaml", "layout: 2\n---\nlayout: 2\n", "it is not YAML"),
    ("config.yaml", "seed: 0\n", "its layout is None, not 2"),
    ("config.yaml", "layout: 3\n", "its layout is 3, not 2"),
    ("config.yaml", CONFIG + "alpha: large\n", "alpha is 'large', not a number in (0, inf]"),
    ("config.yaml", CONFIG + "alpha: -1.0\n", "alpha is -1.0, not a number"),
    ("config.yaml", CONFIG + "alpha: true\n", "alpha is True, not a number"),
    ("config.yaml", CONFIG + "alpha: .nan\n", "alpha is nan, not a number"),
    ("config.yaml", CONFIG + "seed: [0]\n", "seed is [0], not an integer"),
    ("config.yaml", CONFIG + "_target_: 1\n", "_target_ is 1, not a string"),
    ("config.yaml", CONFIG + "changed: [alpha]\n", "changed is ['alpha'], not a mapping"),
    ("config.yaml", CONFIG + "changed: {1: 2}\n", "changed is {1: 2}, not a mapping"),
    ("config.yaml", CONFIG + "changed: {alpha: x}\n", "alpha is 'x', not a number"),
    ("config.yaml", CONFIG + "changed: {seed: 0.5}\n", "seed is 0.5, not an integer"),
    ("config.yaml", CONFIG + "versions: 2.6\n", "versions is 2.6, not a mapping"),
    ("config.yaml", CONFIG + "fingerprints: ab\n", "fingerprints is 'ab', not a mapping"),
    ("config.yaml", CONFIG + "fingerprints: {train: 12}\n", "fingerprints is {'train': 12}, not a mapping of names"),
    ("config.yaml", CONFIG + "about: []\n", "about is [], not a mapping"),
    ("config.yaml", CONFIG + "about: {classes: many}\n", "classes is 'many', not an integer"),
    ("config.yaml", CONFIG + "day: 2026-01-01\n", "is a date, not a plain value"),
    ("config.yaml", CONFIG + "day: 2026-13-99\n", "month must be in 1..12"),
    ("config.yaml", CONFIG + "day: 9999-12-31T23:59:59-23:59\n", "date"),
    ("config.yaml", CONFIG + f"n: {'9' * 500}\n", "a number has more than 300 digits"),
    ("config.yaml", CONFIG + f"n: {'9' * 5000}\n", "digits"),
    ("config.yaml", CONFIG + "n: 0x_\n", "invalid literal"),
    ("config.yaml", CONFIG + "1.5: x\n", "the key 1.5 is not a string"),
    ("config.yaml", CONFIG + "? [1]\n: x\n", "it is not YAML"),
    ("config.yaml", CONFIG + "a: &a [1]\n", "it holds an anchor, an alias or a tag (line 2)"),
    ("config.yaml", CONFIG + "a: *a\n", "it holds an anchor, an alias or a tag (line 2)"),
    ("config.yaml", CONFIG + "a: !!bool x\n", "it holds an anchor, an alias or a tag (line 2)"),
    ("config.yaml", CONFIG + "a: !!python/object/apply:os.system [x]\n", "it holds an anchor, an alias or a tag"),
    ("config.yaml", CONFIG + "a: " + "[" * 100 + "]" * 100, "it is nested more than 64 deep"),
    ("config.yaml", CONFIG + "a: " + "[" * 10**6, "nest"),  # PyYAML 6.0.4 itself stops, at 1000
    ("config.yaml", CONFIG + "a:\n " + "- " * 10**5, "it is nested more than 64 deep"),
    ("config.yaml", CONFIG + "a: \0\n", "it holds a NUL byte"),
    ("config.yaml", b"layout: 2\na: \xff\n", "it is not UTF-8"),
    ("summary.json", "", "it is empty"),
    ("summary.json", "[]", "it is a list, not a mapping"),
    ("summary.json", "null", "it is a NoneType, not a mapping"),
    ("summary.json", "{", "it is not JSON"),
    ("summary.json", "{} {}", "it is not JSON (Extra data)"),
    ("summary.json", "{}", "status is None, not one of finished, diverged, interrupted, failed"),
    ("summary.json", '{"status": "done"}', "status is 'done', not one of"),
    ("summary.json", '{"status": ["finished"]}', "status is ['finished'], not one of"),
    ("summary.json", "{" + STATUS + '"alpha": "1e7"}', "alpha is '1e7', not a positive number or \"inf\""),
    ("summary.json", "{" + STATUS + '"alpha": Infinity}', "inf is not JSON"),
    ("summary.json", "{" + STATUS + '"loss": NaN}', "nan is not JSON"),
    ("summary.json", "{" + STATUS + '"loss": 1e999}', "inf is not JSON"),
    ("summary.json", "{" + STATUS + f'"loss": {"9" * 500}' + "}", "a number has more than 300 digits"),
    ("summary.json", "{" + STATUS + f'"loss": {"9" * 5000}' + "}", "digits"),
    ("summary.json", "{" + STATUS + '"seed": "0"}', "seed is '0', not an integer"),
    ("summary.json", "{" + STATUS + '"epochs": 1.5}', "epochs is 1.5, not an integer"),
    ("summary.json", "{" + STATUS + '"error": 1}', "error is 1, not a string"),
    ("summary.json", "{" + STATUS + '"claims": [1]}', "claims is [1], not a list of claims"),
    ("summary.json", "{" + STATUS + '"claims": [{"text": "x", "held": 1}]}', "not a list of claims"),
    ("summary.json", "{" + STATUS + '"not_measured": []}', "not_measured is [], not a mapping"),
    ("summary.json", "{" + STATUS + '"verdict": "\\ud800"}', "holds half a character"),
    ("summary.json", "{" + STATUS + '"x": ' + "[" * 100 + "]" * 100 + "}", "it is nested more than 64 deep"),
    ("summary.json", "[" * 10**6, "it is nested too deep"),
    ("summary.json", '{"a":' * 10**5, "it is nested too deep"),
    ("summary.json", b'{"a": "\xff"}', "it is not UTF-8"),
    ("summary.json", '{"status": "finished"}'.encode("utf-16"), "it is not UTF-8"),
    ("summary.json", b"\0" * 100, "it holds a NUL byte"),
    ("report.json", "[]", "it is a list, not a mapping"),
    ("report.json", '{"items": {}}', "items is {}, not a list of mappings"),
    ("report.json", '{"items": [1]}', "items is [1], not a list of mappings"),
    ("report.json", '{"quantities": {"x": 1}}', "quantities is {'x': 1}, not a mapping of mappings"),
    ("report.json", '{"title": 1}', "title is 1, not a string"),
    ("metrics.jsonl", '{"epoch": 0}\n[1]\n', "in line 2 it is a list, not a mapping"),
    ("metrics.jsonl", '{"epoch": 0}\n{"loss": 1}\n', "in line 2 epoch is None, not a number"),
    ("metrics.jsonl", '{"epoch": "3"}\n', "in line 1 epoch is '3', not a number"),
    ("metrics.jsonl", '{"epoch": true}\n', "in line 1 epoch is True, not a number"),
    ("metrics.jsonl", '{"epoch": 1e999}\n', "in line 1 inf is not JSON"),
    ("metrics.jsonl", '{"epoch": 0, "alpha": -1}\n', "in line 1 alpha is -1, not a positive number"),
    ("metrics.jsonl", '{"epoch": 0}\n\n{"epoch": 1}\n', "in line 2 it is empty"),
    ("metrics.jsonl", '{"epoch": 0}\n{"epoch"\n{"epoch": 1}\n', "in line 2 it is not JSON"),
    ("metrics.jsonl", '{"epoch": 0}\n\0\0\0\n', "in line 2 it holds a NUL byte"),
    ("metrics.jsonl", b'{"epoch": 0}\n\xff\n', "in line 2 it is not UTF-8"),
    ("metrics.jsonl", "[" * 10**5 + "\n", "in line 1 it is nested too deep"),
    ("metrics.jsonl", '{"epoch": 0, "x": ' + "[" * 100 + "]" * 100 + "}\n", "in line 1 it is nested more than 64 deep"),
    ("rates.csv", "a,b\n1,2\n3\n", "row 2 has 1 cells, the header 2"),
    ("rates.csv", "a,b\n1,2,3\n", "row 1 has 3 cells, the header 2"),
    ("rates.csv", "a,b\n1,2\n\n", "row 2 has 0 cells, the header 2"),
    ("rates.csv", "a,a\n1,2\n", "two columns have one name"),
    ("rates.csv", "\n1\n", "its header is empty"),
    ("rates.csv", 'a\n"x\n', "unexpected end of data"),
    ("rates.csv", "a\n" + "x" * 10**6 + "\n", "field larger than field limit"),
    ("rates.csv", b"a\n\xff\n", "it is not UTF-8"),
    ("rates.csv", b"a\n\0\n", "it holds a NUL byte"),
]


def refusal(run, name):
    with pytest.raises(ValueError) as raised:
        READ[name](run)
    assert type(raised.value) is ValueError
    line = str(raised.value)
    assert "\n" not in line and len(line) < 600
    return line


@pytest.mark.parametrize("name, content, reason", DAMAGED, ids=[f"{name}-{reason}" for name, _, reason in DAMAGED])
def test_a_damaged_record_is_refused_in_one_line(run, name, content, reason):
    (run.path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refusal(run, name)
    assert line.startswith(f"{run.path / name} cannot be used: ")
    assert reason in line
    assert line.endswith(REMEDY[name].format(run=run.path))


BOMB = "layout: 2\na0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 60))


def test_a_billion_laughs_are_refused_before_the_first(run):
    (run.path / "config.yaml").write_text(BOMB)
    assert "it holds an anchor, an alias or a tag (line 2)" in refusal(run, "config.yaml")


@pytest.mark.parametrize("name", READ)
def test_a_pipe_a_socket_and_a_folder_are_refused_without_waiting(run, name, monkeypatch):
    path = run.path / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    lines = []
    reader = threading.Thread(target=lambda: lines.append(refusal(run, name)), daemon=True)
    reader.start()
    reader.join(timeout=10)
    path.unlink()
    monkeypatch.chdir(run.path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        lines.append(refusal(run, name))
    path.unlink()
    path.mkdir()
    lines.append(refusal(run, name))
    path.rmdir()
    path.symlink_to("/dev/zero")
    lines.append(refusal(run, name))
    assert lines == [f"{path} is not a regular file; remove it"] * 4


@pytest.mark.parametrize("name", READ)
def test_a_file_without_end_is_refused_unread(run, name):
    limit = 256 if name in ("metrics.jsonl", "rates.csv") else 4
    with open(run.path / name, "wb") as file:
        file.truncate(limit * 2**20 + 1)
    assert refusal(run, name) == f"{run.path / name} is larger than {limit} MiB, which no run writes; remove it"


def test_a_file_that_grows_while_it_is_read_is_refused(run, monkeypatch):
    status = os.stat(run.path / "config.yaml")
    (run.path / "summary.json").write_text(" " * (4 * 2**20 + 1))
    monkeypatch.setattr(type(run.path), "stat", lambda path, **_: status)
    assert refusal(run, "summary.json").endswith("summary.json is larger than 4 MiB, which no run writes; remove it")


def test_a_loop_of_links_is_refused(run):
    (run.path / "summary.json").symlink_to("summary.json")
    line = refusal(run, "summary.json")
    assert "summary.json cannot be read (Too many levels of symbolic links); make it readable, or remove it" in line


def test_a_file_that_may_not_be_read_is_refused(unprivileged):
    run = RunDirectory(unprivileged / "run")
    run.create({}, {}, {}, {})
    os.chmod(run.path / "config.yaml", 0)
    line = refusal(run, "config.yaml")
    assert line == f"{run.path}/config.yaml cannot be read (Permission denied); make it readable, or remove it"
    assert not run.exists


def test_a_file_in_place_of_the_run_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    run = RunDirectory(tmp_path / "run")
    assert not run.exists
    for name in READ:
        assert "cannot be read (Not a directory)" in refusal(run, name)


@pytest.mark.parametrize("content", ["", "[1]", "layout: 2\nseed: {"])
def test_a_run_with_a_damaged_config_does_not_go_on_and_can_start_over(run, create, content):
    run.append({"epoch": 0})
    (run.path / "config.yaml").write_text(content)
    with pytest.raises(ValueError, match="config.yaml cannot be used"):
        create(run.path)
    assert (run.path / "config.yaml").read_text() == content
    run.clear()
    create(run.path)
    assert run.config["seed"] == 0 and run.metrics == []


def test_repeated_keys_are_no_damage(run):
    (run.path / "config.yaml").write_text("layout: 2\nseed: 1\nseed: 2\n")
    (run.path / "summary.json").write_text('{"status": "failed", "status": "finished"}')
    assert run.config["seed"] == 2 and run.summary == {"status": "finished"}


@given(st.sampled_from(sorted(READ)), st.binary() | st.text().map(str.encode), st.booleans())
def test_any_content_is_read_or_refused(tmp_path_factory, name, content, begun):
    run = RunDirectory(tmp_path_factory.getbasetemp() / "damaged")
    run.path.mkdir(exist_ok=True)
    begin = {"config.yaml": b"layout: 2\nx: ", "rates.csv": b"a,b\n", "metrics.jsonl": b'{"epoch": 1}\n'}
    (run.path / name).write_bytes(begin.get(name, b"") * begun + content + b"\n" * begun)
    try:
        record = READ[name](run)
    except ValueError as error:
        assert "\n" not in str(error) and str(run.path / name) in str(error)
    else:
        assert record is not None
