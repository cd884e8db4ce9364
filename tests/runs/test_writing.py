import errno
import os

import pytest
import torch

from lazytorch.runs import write_atomically

SPACE = "free some and start again; the run goes on where it was"


def test_a_write_that_fails_leaves_the_former_file_alone(run):
    def fail(file):
        file.write(b"half")
        raise OSError("of its own")

    before = sorted(run.path.rglob("*"))
    content = (run.path / "config.yaml").read_bytes()
    with pytest.raises(OSError, match="^of its own$"):
        write_atomically(run.path / "config.yaml", fail)
    assert sorted(run.path.rglob("*")) == before and (run.path / "config.yaml").read_bytes() == content


def test_a_full_disk_is_named_and_the_former_file_stays(run, full_disk):
    run.write_table("t", [{"a": 1}])
    content = (run.path / "t.csv").read_bytes()
    with full_disk(1000), pytest.raises(OSError, match=rf"^file too large while writing {run.path}/t.csv: {SPACE}$"):
        run.write_table("t", [{"a": 2}] * 1000)
    assert (run.path / "t.csv").read_bytes() == content
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "t.csv"]


@pytest.mark.parametrize("code, reason", [(errno.ENOSPC, "no space left on device"), (errno.EDQUOT, "dis[ck] quota")])
def test_the_disk_may_say_so_late(run, monkeypatch, code, reason):
    def fsync(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=rf"^{reason}.* while writing {run.path}/summary.json: {SPACE}$") as raised:
        run.write_summary({"status": "finished"})
    assert raised.value.errno == code and run.summary is None


def test_torch_tells_of_a_full_disk_as_well(run, full_disk):
    write_atomically(run.checkpoint(), lambda file: torch.save({"theta": torch.ones(3)}, file))
    with full_disk(50_000), pytest.raises(OSError, match=f"file too large while writing {run.checkpoint()}: {SPACE}"):
        write_atomically(run.checkpoint(), lambda file: torch.save({"theta": torch.ones(10**5)}, file))
    assert os.listdir(run.checkpoint().parent) == ["last.pt"]
    assert torch.equal(torch.load(run.checkpoint(), weights_only=True)["theta"], torch.ones(3))


def test_a_row_that_a_full_disk_cut_short_leaves_nothing(run, full_disk):
    run.append({"epoch": 0})
    content = (run.path / "metrics.jsonl").read_bytes()
    size = len(content) + 10
    with full_disk(size), pytest.raises(OSError, match=f"too large while writing {run.path}/metrics.jsonl: {SPACE}"):
        run.append({"epoch": 1, "train_loss": 0.5})
    assert (run.path / "metrics.jsonl").read_bytes() == content
    run.append({"epoch": 1})
    assert run.metrics == [{"epoch": 0}, {"epoch": 1}]


def test_a_row_that_did_not_reach_the_disk_is_taken_back(run, monkeypatch):
    run.append({"epoch": 0})
    with monkeypatch.context() as patch:

        def fsync(descriptor):
            raise OSError(errno.ENOSPC, "")

        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match="no space left on device"):
            run.append({"epoch": 1})
    assert run.metrics == [{"epoch": 0}]


def test_a_missing_permission_is_named(unprivileged, create):
    run = create(unprivileged / "run")
    os.chmod(run.path, 0o500)
    for write, name in ((lambda: run.write_summary({"status": "failed"}), "summary.json"), (run.clear, "config.yaml")):
        with pytest.raises(PermissionError, match=f"^permission denied while .* {run.path}/{name}: allow it there"):
            write()
    with (
        pytest.raises(PermissionError, match=rf"^permission denied while locking {run.path}/\.lock: allow"),
        run.lock(),
    ):
        pytest.fail("locked")
    with pytest.raises(PermissionError, match=f"^permission denied while writing {run.path}/metrics.jsonl"):
        run.append({"epoch": 0})
    with pytest.raises(PermissionError, match=f"^permission denied while writing {run.path}/below/config.yaml"):
        create(run.path / "below")


def test_what_is_in_the_way_is_named(run, create):
    (run.path / "file").write_text("")
    with pytest.raises(OSError, match="^not a directory while writing .*/file/run/config.yaml: remove what"):
        create(run.path / "file" / "run")
    (run.path / "metrics.jsonl").mkdir()
    with pytest.raises(OSError, match="^is a directory while writing .*/metrics.jsonl: remove what"):
        run.append({"epoch": 0})
