"""Where a run is computed: the only place that knows devices, and their generators."""

import gc
import platform
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is cuda where there is one, else cpu.

    Raises:
        ValueError: the device is unknown or not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: use auto, cpu or cuda") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={name}, but torch {torch.__version__} finds {torch.cuda.device_count()} CUDA devices: "
            f"use device=cpu, or install a driver and a CUDA build of torch"
        )
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


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the generators that dropout draws from: the CPU's and, on a CUDA device, that device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random(states: dict | None, seed: int, device: torch.device) -> None:
    """Set the generators to ``states``; those that it does not hold are seeded. Other devices' stay as they are."""
    states = states or {}
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    else:
        torch.default_generator.manual_seed(seed)
    if device.type != "cuda":
        return
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    else:
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def forked_generators(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the generators are as before afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
