"""How far locks reach, by the options that the file system is mounted with."""

import json
import logging
import os
import socket
from pathlib import Path

import pytest

from lazytorch.runs import Locked, mounts

LINE = "36 25 0:{number} / {point} rw,relatime shared:1 - {kind} {source} {options}\n"
SHARED = "rw,vers=3,rsize=1048576,hard,proto=tcp,{lock}addr=10.0.0.1"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes the table of mounts: a disk at /, and these."""

    def write(*lines):
        path = tmp_path / "mountinfo"
        root = LINE.format(number=1, point="/", kind="ext4", source="/dev/sda1", options="rw")
        path.write_bytes(os.fsencode(root + "".join(lines)))
        monkeypatch.setattr(mounts, "TABLE", path)

    return write


def share(point, lock):
    escaped = str(point).replace(" ", "\\040")
    return LINE.format(number=2, point=escaped, kind="nfs4", source="server:/x", options=SHARED.format(lock=lock))


REACHES = {"": True, "local_lock=none,": True, "local_lock=posix,": True}
IS_LOCAL = {"local_lock=flock,": False, "local_lock=all,": False, "nolock,": False}


@pytest.mark.parametrize(("lock", "reaches"), (REACHES | IS_LOCAL).items())
def test_options_of_a_shared_file_system(table, lock, reaches):
    table(share("/a share/runs", lock))
    mount = mounts.mount_of(Path("/a share/runs/one/.lock"))
    assert (mount.point, mount.kind, mount.has_local_locks) == (Path("/a share/runs"), "nfs4", not reaches)
    assert mounts.mount_of(Path("/a share/other")).kind == "ext4"


@pytest.mark.parametrize("name", ["/größe", os.fsdecode(b"/gr\xf6\xdfe")])
def test_names_that_are_not_in_ascii(table, name):
    table(share(name, "nolock,"))
    assert mounts.mount_of(Path(name) / "runs").has_local_locks


def test_what_is_mounted_last_counts(table):
    table(share("/x", "nolock,"), share("/x", ""), share("/x/y", "nolock,"))
    assert not mounts.mount_of(Path("/x/z")).has_local_locks
    assert mounts.mount_of(Path("/x/y/z")).has_local_locks


def test_this_machine_has_a_root_or_no_table():
    mount = mounts.mount_of(Path("/"))
    assert mount is None or mount.point == Path("/")


def test_a_run_that_another_machine_may_train_is_refused(run, table, caplog):
    lock = run.path / ".lock"
    signature = {"pid": 7, "host": "elsewhere", "since": "2026-01-01 00:00:00"}
    lock.write_text(json.dumps(signature))
    table(share(run.path.parent.resolve(), "local_lock=all,"))
    with (
        pytest.raises(Locked, match=r"process 7 on elsewhere .* may go on, .*local_lock=all.*remove .*\.lock"),
        run.lock(),
    ):
        pytest.fail("it is trained twice")
    assert json.loads(lock.read_text()) == signature
    lock.write_text(json.dumps(signature | {"host": socket.gethostname()}))  # killed here, where locks are seen
    with caplog.at_level(logging.WARNING, "lazytorch.runs"), run.lock():
        assert "do not reach other machines" in caplog.text
    table(share(run.path.parent.resolve(), ""))
    lock.write_text(json.dumps(signature))
    caplog.clear()
    with run.lock():
        assert not caplog.text
