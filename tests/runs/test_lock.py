import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import lazytorch
from lazytorch.runs import Locked, RunDirectory, lock, write_atomically

ROOMS = str(Path(lazytorch.__file__).parent)

# The room alone, without torch: a process starts in no time.
BEGIN = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from runs import Locked, RunDirectory, write_atomically
run = RunDirectory(sys.argv[2])
"""


def start(code, run, **options):
    command = [sys.executable, "-c", BEGIN + code, ROOMS, str(run.path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


HOLD = """
def write(file):
    file.write(b"half of it")
    print("writing", flush=True)
    time.sleep(60)

with run.lock():
    write_atomically(run.checkpoint(), write)
"""


def test_a_killed_writer_lets_go_and_leaves_the_former_checkpoint(run):
    write_atomically(run.checkpoint(), lambda file: file.write(b"former"))
    with start(HOLD, run) as process:
        assert process.stdout.readline() == "writing\n"
        with pytest.raises(Locked) as raised, run.lock():
            pytest.fail("two processes hold one run")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    who = f"is being trained by process {process.pid} on {socket.gethostname()} since 20"
    assert isinstance(raised.value, RuntimeError)
    assert str(raised.value).startswith(f"{run.path} {who}")
    assert str(raised.value).endswith("; wait for it to end, or give this run another name=...")
    assert len(os.listdir(run.checkpoint().parent)) == 2
    with run.lock():
        assert os.listdir(run.checkpoint().parent) == ["last.pt"]
        assert run.checkpoint().read_bytes() == b"former"
    with run.lock():
        pass


def test_the_lock_file_says_who_has_it(run):
    with run.lock():
        signature = json.loads((run.path / ".lock").read_text())
        assert signature["pid"] == os.getpid() and signature["host"] == socket.gethostname()
        assert abs(time.mktime(time.strptime(signature["since"], "%Y-%m-%d %H:%M:%S")) - time.time()) < 60
    assert (run.path / ".lock").read_text() == ""


@pytest.mark.parametrize(
    "words", ["", "[" * 4000, '{"pid": 1}', '{"pid": "x", "host": 1, "since": 2}', "x" * 9999, "1"]
)
def test_a_damaged_signature_is_just_another_process(run, words):
    with run.lock():
        (run.path / ".lock").write_text(words)
        with pytest.raises(Locked, match="is being trained by another process; wait"), run.lock():
            pytest.fail("held twice")


COUNT = """
counter = run.path / "counter"
with run.lock(wait=True):
    count = int(counter.read_text())
    time.sleep(0.01)
    counter.write_text(str(count + 1))
"""


def test_twenty_processes_take_their_turns(run, monkeypatch):
    (run.path / "counter").write_text("0")
    code = "import runs.lock; runs.lock.POLL = 0.05" + COUNT
    processes = [start(code, run, stderr=subprocess.DEVNULL) for _ in range(20)]
    for process in processes:
        with process:
            pass
        assert process.returncode == 0
    assert (run.path / "counter").read_text() == "20"


DIE = """
with run.lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_who_waits_says_so_once_and_gets_the_lock_of_a_killed_holder(run, monkeypatch, caplog):
    with start(DIE, run) as process:
        assert process.stdout.readline() == "held\n"
        polls = []

        def sleep(seconds):
            polls.append(seconds)
            if len(polls) == 2:
                process.kill()
                process.wait()

        monkeypatch.setattr(lock.time, "sleep", sleep)
        with caplog.at_level(logging.INFO, "lazytorch.runs"), run.lock(wait=True):
            assert json.loads((run.path / ".lock").read_text())["pid"] == os.getpid()
    (record,) = caplog.records
    assert record.getMessage().startswith(f"waiting for process {process.pid} on {socket.gethostname()} since")
    assert record.getMessage().endswith(f", which trains {run.path}")
    assert polls == [0.5, 0.5]


WAIT = """
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
with run.lock(wait=True):
    pass
"""


def test_waiting_can_be_interrupted(run):
    with run.lock(), start(WAIT, run, stderr=subprocess.DEVNULL) as process:
        assert process.stdout.readline().startswith("waiting for process")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == -signal.SIGINT
    with run.lock():
        pass


def test_an_error_inside_lets_go(run):
    with pytest.raises(ZeroDivisionError), run.lock():
        _ = 1 / 0
    with run.lock():
        pass


def test_two_threads_take_their_turns(run):
    entered = threading.Event()

    def wait():
        with run.lock(wait=True):
            entered.set()

    with run.lock():
        thread = threading.Thread(target=wait)
        thread.start()
        assert not entered.wait(0.2)
    thread.join(timeout=10)
    assert entered.is_set()


FORK = """
with run.lock():
    worker = os.fork()
    if worker == 0:
        signal.pause()
try:
    with run.lock():
        pass
finally:
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
"""


def test_a_forked_worker_does_not_keep_the_lock(run):
    with start(FORK, run) as process:
        pass
    assert process.returncode == 0


ORPHAN = """
with run.lock():
    worker = os.fork()
    if worker == 0:
        print(os.getpid(), flush=True)
    signal.pause()
"""


def test_a_forked_worker_that_outlives_its_killed_parent_does_not_keep_the_lock(run):
    with start(ORPHAN, run) as process:
        worker = int(process.stdout.readline())
        process.kill()
        process.wait()
        try:
            os.kill(worker, 0)  # it is there
            with run.lock():
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


LEAVE = """
with run.lock():
    worker = os.fork()
    if worker:
        os.waitpid(worker, 0)
        try:
            with RunDirectory(run.path).lock():
                sys.exit("a forked worker that left let go of its parent's lock")
        except Locked:
            pass
"""


def test_a_forked_worker_that_leaves_does_not_let_go_for_its_parent(run):
    with start(LEAVE, run) as process:
        pass
    assert process.returncode == 0


def test_a_started_program_does_not_keep_the_lock(run):
    with run.lock():
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    with sleeper:
        with run.lock():
            pass
        sleeper.kill()


def test_leftovers_of_killed_writers_are_removed(run):
    for path in (run.path / ".summary.json.1.tmp", run.path / "checkpoints" / ".last.pt.1.tmp"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    (run.path / "mine.tmp").write_text("kept")
    with run.lock():
        pass
    assert sorted(path.name for path in run.path.rglob("*")) == [".lock", "checkpoints", "config.yaml", "mine.tmp"]


WINDOWS = """
import sys, types
locked = []

def locking(descriptor, mode, size):
    if mode == 2 and locked:
        raise PermissionError(13, "Permission denied")
    locked.append(descriptor) if mode == 2 else locked.clear()

sys.modules["fcntl"] = None
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_NBLCK=2, LK_UNLCK=0)
sys.platform = "win32"
import os
del os.register_at_fork
real, os.open = os.open, lambda path, flags, *mode, **more: (
    real(path, flags, *mode, **more) if not os.path.isdir(path) else sys.exit("Windows opens no folder")
)
"""

USE = """
with run.lock():
    run.create({"seed": 0}, {}, {}, {})
    run.append({"epoch": 0})
    try:
        with run.lock():
            sys.exit("held twice")
    except Locked as error:
        print(error)
with run.lock():
    print(run.config["seed"], run.metrics)
"""


def test_it_works_with_the_locks_of_windows(tmp_path):
    run = RunDirectory(tmp_path / "run")
    command = [sys.executable, "-c", WINDOWS + BEGIN + USE, ROOMS, str(run.path)]
    said, read = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    assert "is being trained by process " in said and read == "0 [{'epoch': 0}]"


def test_a_file_system_without_locks_is_named(run, monkeypatch):
    def claim(file):
        raise OSError(errno.ENOLCK, "")

    monkeypatch.setattr(lock, "claim", claim)
    words = "no locks available while locking .*/.lock: use a runs_dir on a file system that can do it"
    with pytest.raises(OSError, match=words), run.lock():
        pytest.fail("locked")


def test_a_pipe_or_a_folder_in_place_of_the_lock_does_not_block(run):
    os.mkfifo(run.path / ".lock")
    with pytest.raises(OSError, match="while locking .*/.lock: remove what is in its way"), run.lock():
        pytest.fail("locked")
    (run.path / ".lock").unlink()
    (run.path / ".lock").mkdir()
    with pytest.raises(OSError, match="is a directory while locking .*/.lock: remove what is in its way"), run.lock():
        pytest.fail("locked")
