"""Promises that the files around the library make."""

import os
import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["scripts/test", "scripts/quickstart", "scripts/docs", ".ci/run"])
def test_script_is_executable(script):
    assert os.access(CHECKOUT / script, os.X_OK)


def test_dockerfile_takes_any_base_and_does_not_run_as_root():
    lines = (CHECKOUT / "Dockerfile").read_text().splitlines()
    assert lines[0].startswith("ARG BASE_IMAGE=")
    assert lines[1] == "FROM ${BASE_IMAGE}"
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in ("0", "root")


def test_no_machine_path_or_package_index_in_the_text():
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    result = subprocess.run(listing, cwd=CHECKOUT, capture_output=True, text=True)
    if result.returncode:
        pytest.skip("not a git checkout")
    machine = re.compile(rb"(^|[^\w.])/(home|root|Users|work|opt)/\w|(index|find)-(url|links)\b")
    files = [CHECKOUT / name for name in result.stdout.split("\0") if name]
    assert [str(path) for path in files if path.is_file() and machine.search(path.read_bytes())] == []


def test_imports_inside_the_package_are_relative():
    """A rule that ruff has not: it takes relative imports for what they resolve to."""
    absolute = re.compile(r"^\s*(from|import) lazytorch\b", re.MULTILINE)
    files = (CHECKOUT / "lazytorch").rglob("*.py")
    assert [str(path) for path in files if absolute.search(path.read_text(encoding="utf-8"))] == []


def test_the_citation_has_the_packages_version():
    version = re.search(r'^version = "([^"]+)"', (CHECKOUT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"version: {version.group(1)}\n" in (CHECKOUT / "CITATION.cff").read_text(encoding="utf-8")
