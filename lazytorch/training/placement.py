"""Where a run is computed: the only place that knows devices, and their generators."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The states of the generators that dropout draws from: the CPU's and, on a CUDA device, that device's."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random(states: dict | None, seed: int, device: torch.device) -> None:
    """Seed the generators, and set those that ``states`` holds; a device that it does not hold keeps the seed."""
    torch.manual_seed(seed)
    if states is None:
        return
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def forked_generators(device: torch.device) -> Iterator[None]:
    """Whatever is drawn inside, the generators are as before afterwards."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
