import logging
import os

import pytest

from lazytorch.runs import find, locate


def test_find_sees_every_run_once_and_nothing_else(tmp_path, create):
    runs = tmp_path / "runs"
    for name in ("b/2", "a/1", "a/3"):
        create(runs / name)
    for folder in (runs / "a" / ".hydra", runs / "conf"):
        folder.mkdir()
        (folder / "config.yaml").write_text("alpha: 1\nmodel:\n  layout: 2\n")
    create(runs / "a" / ".hidden")
    found = find([runs, runs / "a", str(runs / "a" / "1")])
    assert [run.path for run in found] == [runs / "a/1", runs / "a/3", runs / "b/2"]
    assert [run.path for run in find([runs / "a" / "1", runs])] == [runs / "a/1", runs / "a/3", runs / "b/2"]
    assert [run.path for run in find(runs / "b")] == [runs / "b/2"]
    assert find([runs / "conf"]) == [] and find([]) == []


def test_what_lies_inside_a_run_is_not_a_run_of_its_own(run, create):
    create(run.path / "checkpoints" / "copy")
    assert [found.path for found in find([run.path.parent])] == [run.path]


def test_a_path_that_is_no_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist; give run directories"):
        find([tmp_path, tmp_path / "nowhere"])
    (tmp_path / "report.html").write_text("")
    with pytest.raises(NotADirectoryError, match="report.html is a file; give run directories"):
        find([tmp_path / "report.html"])


def test_loops_of_links_are_harmless_and_links_are_followed(tmp_path, create):
    runs, scratch = tmp_path / "runs", tmp_path / "scratch"
    create(scratch / "name" / "1")
    (runs / "a").mkdir(parents=True)
    (runs / "a" / "up").symlink_to(runs)
    (runs / "a" / "self").symlink_to("self")
    (runs / "linked").symlink_to(scratch / "name")
    (scratch / "back").symlink_to(runs)
    assert [run.path for run in find([runs])] == [runs / "linked" / "1"]
    assert len(find([runs, scratch, runs / "linked" / "1"])) == 1


@pytest.mark.parametrize("text", ["", "[1, 2]\n", "layout: 2\nseed: {", "alpha: 1\n"])
def test_a_run_whose_config_is_damaged_is_found_so_that_it_can_be_named(run, text):
    run.append({"epoch": 0})
    (run.path / "config.yaml").write_text(text)
    (found,) = find([run.path.parent])
    with pytest.raises(ValueError, match="config.yaml cannot be used"):
        _ = found.config


def test_a_pipe_in_place_of_a_config_does_not_block(run):
    (run.path / "config.yaml").unlink()
    os.mkfifo(run.path / "config.yaml")
    assert find([run.path.parent]) == []
    (run.path / "metrics.jsonl").write_text("")
    (found,) = find([run.path.parent])
    with pytest.raises(ValueError, match="config.yaml is not a regular file"):
        _ = found.config


def test_a_run_of_the_former_layout_is_found_and_named_as_such(tmp_path):
    old = tmp_path / "runs" / "name" / "0123"
    old.mkdir(parents=True)
    (old / "config.yaml").write_text("alpha: 1\nversions:\n  torch: '2.6'\ndata_fingerprint:\n  train: ab\n")
    (found,) = find([tmp_path])
    assert found.path == old and not found.exists
    with pytest.raises(ValueError, match=f"^{old} is of the layout of lazytorch 0.1: .*; train it again$"):
        _ = found.config
    with pytest.raises(ValueError, match="is of the layout of lazytorch 0.1"):
        found.create({}, {}, {}, {})
    assert "data_fingerprint" in (old / "config.yaml").read_text()


def test_a_folder_that_may_not_be_read_is_left_out_with_a_warning(unprivileged, create, caplog):
    create(unprivileged / "a")
    create(unprivileged / "b" / "1")
    os.chmod(unprivileged / "b", 0)
    assert [run.path.name for run in find([unprivileged])] == ["a"]
    assert f"{unprivileged / 'b'} is left out: Permission denied" in caplog.text


def test_a_run_is_located_by_its_hash_whatever_its_label(tmp_path, create, caplog):
    assert locate(tmp_path / "nowhere", "alpha=1", "0123").path == tmp_path / "nowhere" / "alpha=1-0123"
    assert locate(tmp_path, "", "0123").path == tmp_path / "0123"
    create(tmp_path / "alpha=1,seed=0-0123")
    create(tmp_path / "alpha=1-40123")
    create(tmp_path / ".x-0123")
    (tmp_path / "a-0123").write_text("")
    assert locate(tmp_path, "alpha=1", "0123").path == tmp_path / "alpha=1,seed=0-0123"
    assert not caplog.records


def test_a_run_is_located_by_its_bare_hash(tmp_path, create):
    create(tmp_path / "0123")
    assert locate(str(tmp_path), "alpha=1", "0123").path == tmp_path / "0123"


def test_of_several_the_finished_run_is_located_and_the_others_are_named(tmp_path, create, caplog):
    for name in ("a-0123", "b-0123", "c-0123"):
        create(tmp_path / name)
    assert locate(tmp_path, "b", "0123").path.name == "a-0123"
    create(tmp_path / "b-0123").write_summary({"status": "finished"})
    assert locate(tmp_path, "c", "0123").path.name == "b-0123"
    first, second = caplog.records
    assert first.levelno == logging.WARNING and "b-0123 is used; remove a-0123, c-0123" in second.getMessage()
