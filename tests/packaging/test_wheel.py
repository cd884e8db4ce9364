"""The wheel is complete: it carries the configuration and runs away from the checkout."""

import os
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=CHECKOUT, check=True)
    (wheel,) = directory.glob("*.whl")
    ZipFile(wheel).extractall(directory / "site")
    return directory / "site"


def relative_files(directory):
    return {path.relative_to(directory) for path in directory.rglob("*") if path.is_file()}


def test_configuration_is_inside(unpacked):
    assert relative_files(unpacked / "lazytorch" / "conf") == relative_files(CHECKOUT / "conf")


def test_nothing_but_the_package_is_inside(unpacked):
    assert sorted(path.name for path in unpacked.iterdir() if path.suffix != ".dist-info") == ["lazytorch"]


def test_console_scripts_load(unpacked):
    (metadata,) = unpacked.glob("*.dist-info")
    scripts = Distribution.at(metadata).entry_points
    assert {script.name for script in scripts} == {"lazytorch", "lazytorch-report"}
    assert all(callable(script.load()) for script in scripts)


def test_runs_away_from_the_checkout(unpacked, tmp_path):
    command = [sys.executable, "-m", "lazytorch", "--cfg", "job"]
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "runs_dir: runs" in result.stdout
    assert not any(tmp_path.iterdir())
