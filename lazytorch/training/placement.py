"""Where a run is computed: the only place that knows processes, devices, and their generators."""

import atexit
import gc
import hashlib
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from ..processes import Processes


def is_first_process() -> bool:
    """Whether this process is alone, or the first of those that torchrun has started: which writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def count_processes() -> int:
    """How many train one run; they need not have joined yet."""
    if not dist.is_available():
        return 1
    if dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def find_processes() -> Processes:
    """Those that train one run: of the process group that there is, or that torchrun asks for; else this one alone.

    The group that is made here has gloo for the CPU and nccl for CUDA.
    """
    if count_processes() == 1:
        return Processes()
    if not dist.is_initialized():
        dist.init_process_group()
        atexit.register(dist.destroy_process_group)
    return Processes(dist.group.WORLD)


def join_tasks() -> None:
    """Where a scheduler has started several tasks of one job (Slurm, by submitit), be one of the processes of a run."""
    submitit = sys.modules.get("submitit")
    if submitit is None or "RANK" in os.environ:
        return
    try:
        tasks = submitit.helpers.TorchDistributedEnvironment()
    except RuntimeError:  # in no job
        return
    if tasks.world_size > 1:
        tasks.export(set_cuda_visible_devices=False)


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is cuda where there is one, else cpu.

    Of several processes on a machine (torchrun's LOCAL_RANK) each has its own CUDA device, and it is the current one.

    Raises:
        ValueError: the device is unknown or not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: use auto, cpu or cuda") from error
    if device.type == "cuda" and device.index is None and (local := os.environ.get("LOCAL_RANK")) is not None:
        device = torch.device("cuda", int(local))
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device}, but torch {torch.__version__} finds {torch.cuda.device_count()} CUDA devices: "
            f"use device=cpu, or install a driver and a CUDA build of torch, or start no more processes than devices"
        )
    if device.type == "cuda" and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(device)  # where nccl works
    return device


def device_of(model: nn.Module) -> torch.device:
    """Where the model's parameters are."""
    return next(model.parameters()).device


def device_name(device: torch.device) -> str:
    """What computes there."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def free_memory(device: torch.device) -> int | None:
    """Bytes that a process may still take there, None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None


def let_go(error: BaseException | None) -> None:
    """Free what the calls that an error has ended hold through its traceback: activations, or a model, on a device.

    The lines of the traceback stay. Calls that have not ended are left as they are.
    """
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def has_tf32(device: torch.device) -> bool:
    """Whether the device knows TF32."""
    return device.type == "cuda"


def random_states(device: torch.device, processes: Processes) -> dict[str, torch.Tensor]:
    """The states of the generators that dropout draws from: the CPU's and, on a CUDA device, that device's.

    Of several processes each draws for its own part of a batch: those of process 1 are "cpu.1" and "cuda.1", and so on.
    """
    own = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(device)
    return {
        _of(name, rank): state for rank, states in enumerate(processes.gather(own)) for name, state in states.items()
    }


def restore_random(states: dict | None, seed: int, device: torch.device, processes: Processes) -> None:
    """Set the generators to ``states``; those that it does not hold are seeded, of each process with another number.

    Other devices' stay as they are.
    """
    states = states or {}
    if (cpu := _of("cpu", processes.rank)) in states:
        torch.set_rng_state(states[cpu])
    else:
        torch.default_generator.manual_seed(_seed(seed, processes.rank))
    if device.type != "cuda":
        return
    if (cuda := _of("cuda", processes.rank)) in states:
        torch.cuda.set_rng_state(states[cuda], device)
    else:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(_seed(seed, processes.rank))


def _of(name: str, rank: int) -> str:
    return f"{name}.{rank}" if rank else name


def _seed(seed: int, rank: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {rank}".encode()).digest()[:7], "big") if rank else seed


@contextmanager
def forked_generators(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the generators are as before afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
