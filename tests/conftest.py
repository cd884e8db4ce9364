"""What tests of several rooms use."""

import sys

import pytest

from lazytorch import cli


@pytest.fixture
def lazytorch(tmp_path, monkeypatch, capfd):
    """lazytorch(*arguments) -> (exit code, lines of stdout, stderr), run in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    path = list(sys.path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["lazytorch", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")
        monkeypatch.delenv("HYDRA_FULL_ERROR")
        out, err = capfd.readouterr()
        return code, out.splitlines(), err

    yield run
    sys.path[:] = path
