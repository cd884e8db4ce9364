"""What tests of several rooms use: the command line in this process, and in processes of its own."""

import gc
import json
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from lazytorch import cli

SERVER = Path(__file__).with_name("forked_commands.py")
TINY = ("model=mlp", "model.width=16", "epochs=1", "data.train_size=40", "data.test_size=20", "probe_size=2")


def pytest_collection_finish():
    """Python's collector need not walk through what torch and the tests are made of, again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def tiny():
    """Overrides of a run of a second."""
    return list(TINY)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty directory, the current one; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # an edit within a second would go unseen
    monkeypatch.setattr(sys, "path", [*sys.path])
    handlers = logging.getLogger().handlers[:]
    yield tmp_path
    forget(tmp_path)
    logging.getLogger().handlers[:] = handlers  # hydra's write to what was stderr here


def forget(directory):
    """Let what was imported from a directory be imported anew."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(directory)):
            del sys.modules[name]


@pytest.fixture
def lazytorch(folder, monkeypatch, capfd):
    """lazytorch(*arguments) -> (exit code, lines of stdout, stderr), run in an empty directory, as in a new process.

    Without bars and plans, unless LAZYTORCH_PROGRESS=1.
    """
    if "LAZYTORCH_PROGRESS" not in os.environ:
        monkeypatch.setenv("LAZYTORCH_PROGRESS", "0")

    def run(*arguments):
        forget(folder)
        monkeypatch.setattr(sys, "argv", ["lazytorch", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capfd.readouterr()
        return code, out.splitlines(), err

    return run


@dataclass
class Command:
    """lazytorch in a process of its own."""

    ask: object
    pid: int
    out: Path
    err: Path

    def wait(self):
        """(exit code, lines of stdout, stderr); the code is negative for the signal that ended it."""
        return self.ask(wait=self.pid), self.out.read_text().splitlines(), self.err.read_text()


@pytest.fixture(scope="session")
def server():
    """server(**request) -> its answer."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment.setdefault("LAZYTORCH_PROGRESS", "0")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, SERVER], text=True, bufsize=1, env=environment, **pipes) as process:
        assert process.stdout.readline() == "ready\n"

        def ask(**request):
            print(json.dumps(request), file=process.stdin)
            return int(process.stdout.readline())

        yield ask


@pytest.fixture
def start(server, folder):
    """start(*arguments, kill_at_write=(suffix, n), environment={}) -> Command.

    The n-th write of such a file would be its last deed.
    """
    commands = []

    def start(*arguments, kill_at_write=None, environment=None):
        out, err = (folder / f".{name}{len(commands)}" for name in ("out", "err"))
        request = {"directory": str(folder), "arguments": [str(argument) for argument in arguments]}
        request |= {"kill_at_write": kill_at_write, "environment": environment or {}}
        pid = server(**request, out=str(out), err=str(err))
        commands.append(Command(server, pid, out, err))
        return commands[-1]

    return start
