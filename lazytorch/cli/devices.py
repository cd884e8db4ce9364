"""A device for each of the processes of a launcher that runs several members at once on one machine."""

import os
from pathlib import Path

import torch
from omegaconf import OmegaConf

from ..runs.file_lock import claim

_leased: list = []  # the open lock file, as long as the process lives


def devices() -> int:
    """How many members may run at once: one a CUDA device, where there are none one a CPU core."""
    return torch.cuda.device_count() or _cores()


OmegaConf.register_new_resolver("devices", devices, replace=True)


def lease_device(folder: Path, processes: int) -> None:
    """Take the first CUDA device that no other of the launcher's processes has, for as long as this process lives.

    It is then that of ``device=auto``. Without CUDA the cores are divided among the ``processes``, of which none gets
    more threads than it has. ``folder`` is where they meet.

    Raises:
        ValueError: there are more processes than devices.
    """
    if _leased:
        return
    if not torch.cuda.is_available():
        torch.set_num_threads(min(torch.get_num_threads(), max(1, _cores() // processes)))
        return
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(torch.cuda.device_count()):
        file = (folder / f"device-{number}").open("ab", buffering=0)
        if claim(file):
            _leased.append(file)
            os.environ["LOCAL_RANK"] = str(number)
            return
        file.close()
    raise ValueError(
        f"{processes} processes for {torch.cuda.device_count()} CUDA devices: leave out hydra.launcher.n_jobs, or set "
        f"it to no more"
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
