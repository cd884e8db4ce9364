"""What a run was made with."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from .placement import device_name

DISTRIBUTION = "lazytorch-lab"


def versions(device: torch.device) -> dict[str, str | None]:
    """The versions of lazytorch (with its git commit, in a checkout), Python and torch, and the device's name."""
    return {
        "lazytorch": _installed(DISTRIBUTION),
        "git": _commit(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": device_name(device),
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    checkout = Path(__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return result.stdout.strip() or None
