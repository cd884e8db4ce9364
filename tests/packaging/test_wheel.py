"""The wheel is complete and small: it has the configuration, runs away from the checkout, and the source makes it."""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import Distribution
from pathlib import Path
from zipfile import ZipFile

import pytest

CHECKOUT = Path(__file__).parents[2]


def build(source, kind, directory):
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(directory)]
    subprocess.run(command, cwd=source, check=True)
    (built,) = directory.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build(CHECKOUT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    ZipFile(wheel).extractall(directory)
    return directory


def relative_files(directory):
    return {path.relative_to(directory) for path in directory.rglob("*") if path.is_file()}


def test_is_below_a_megabyte(wheel):
    assert wheel.stat().st_size < 1e6


def test_the_source_distribution_makes_the_same(wheel, tmp_path):
    with tarfile.open(build(CHECKOUT, "sdist", tmp_path / "sdist")) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("lazytorch_lab-*")
    again = build(source, "wheel", tmp_path / "wheel")
    assert again.name == wheel.name
    assert sorted(ZipFile(again).namelist()) == sorted(ZipFile(wheel).namelist())


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
