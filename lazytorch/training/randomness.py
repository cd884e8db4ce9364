"""The states of torch's default generators, which dropout draws from."""

import torch


def random_states(device: torch.device) -> dict[str, torch.Tensor]:
    """The CPU generator's state and, on a CUDA device, that device's."""
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
