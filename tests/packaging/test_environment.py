"""scripts/environment.sh: which Python the scripts run with, and what they install."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SYSTEM = "/usr/local/bin:/usr/bin:/bin"


@pytest.fixture
def checkout(tmp_path):
    """A bare checkout whose path has a space."""
    directory = tmp_path / "a checkout"
    (directory / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "scripts/environment.sh"):
        shutil.copy(CHECKOUT / name, directory / name)
    return directory


def executable(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def use_environment(checkout, path):
    command = ["bash", "-euo", "pipefail", "-c", 'source "$1"; use_environment dev; echo "$python"', "bash"]
    environment = {"PATH": f"{path}:{SYSTEM}", "HOME": os.environ.get("HOME", "/")}
    script = str(checkout / "scripts/environment.sh")
    return subprocess.run([*command, script], cwd="/", env=environment, capture_output=True, text=True)


def test_an_environment_with_the_requirements_is_used_as_it_is(checkout):
    before = set(checkout.iterdir())
    result = use_environment(checkout, Path(sys.executable).parent)
    assert Path(result.stdout.strip()).parent == Path(sys.executable).parent, result.stderr
    assert set(checkout.iterdir()) == before


def test_another_gets_a_virtual_environment_that_follows_pyproject(checkout, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    calls = tmp_path / "calls"
    local = executable(checkout / ".venv/bin/python", f'echo "$@" >> "{calls}"')

    def installations():
        result = use_environment(checkout, tmp_path / "bare/bin")
        assert result.stdout.strip() == str(local), result.stderr
        return calls.read_text().count("pip install --editable .[dev,docs]\n")

    assert installations() == 1
    assert installations() == 1
    with open(checkout / "pyproject.toml", "a") as file:
        file.write("# changed\n")
    assert installations() == 2


def test_an_old_python_is_refused_with_the_remedy(checkout, tmp_path):
    old = executable(tmp_path / "old/python3", "exit 1")
    result = use_environment(checkout, old.parent)
    assert result.returncode == 1
    assert str(old) in result.stderr and "3.10 or newer" in result.stderr
    assert not (checkout / ".venv").exists()
