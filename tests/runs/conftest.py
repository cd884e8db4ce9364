"""What tests of run directories share."""

import math
import os
import resource
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from lazytorch.runs import RunDirectory

CONFIG = {
    "_target_": "lazytorch.experiments.Training",
    "seed": 0,
    "alpha": math.inf,
    "optimizer": {"lr": 1e-7},
    "changed": {"alpha": math.inf, "seed": 0},
}
VERSIONS = {"torch": "2.15.0", "git": None, "device": "cpu"}
FINGERPRINTS = {"train": "ab12", "test": "ab13", "network": "cd34", "loss": "ef56"}
ABOUT = {"classes": 10, "size": [1, 8, 8], "model": "VGG"}


@pytest.fixture
def create():
    """create(path, **changes of config, fingerprints or about) -> the run directory."""

    def create(path, config=CONFIG, fingerprints=FINGERPRINTS, about=ABOUT):
        run = RunDirectory(path)
        run.create(config, VERSIONS, fingerprints, about)
        return run

    return create


@pytest.fixture
def run(tmp_path, create):
    return create(tmp_path / "runs" / "name" / "alpha=inf-0123")


@pytest.fixture
def full_disk():
    """with full_disk(size): no file grows beyond size bytes, by the system's own doing."""

    @contextmanager
    def full_disk(size):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return full_disk


@pytest.fixture
def unprivileged():
    """A folder of a user to whom permissions mean something."""
    folder, nobody = Path(tempfile.mkdtemp()), 65534
    privileged = os.geteuid() == 0
    if privileged:
        os.chown(folder, nobody, nobody)
        os.seteuid(nobody)
    yield folder
    if privileged:
        os.seteuid(0)
    for inside, _, _ in os.walk(folder):
        os.chmod(inside, 0o700)
    shutil.rmtree(folder)
