"""Checkpoints: written whole or not at all, read without running anything in them."""

import pickle
from pathlib import Path

import torch

from ..runs import write_atomically


def save(path: Path, state: dict) -> None:
    """Write ``state`` (tensors, numbers, strings, containers of them) to ``path`` atomically."""
    write_atomically(path, lambda file: torch.save(state, file))


def load(path: Path) -> dict:
    """The state in ``path``, on the CPU, with ``weights_only=True``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is truncated, no checkpoint, or holds objects other than tensors and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist: give the path of a run's checkpoints/last.pt")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint {path} holds more than tensors and plain values, which is not loaded for safety: "
            f"use one that lazytorch wrote, or resume=false to start over"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"checkpoint {path} is truncated or damaged: delete it, or use resume=false to start over"
        ) from error
    if not isinstance(state, dict) or "settings" not in state or "model" not in state:
        raise ValueError(f"{path} is not a lazytorch checkpoint: give the path of a run's checkpoints/last.pt")
    return state


def check_settings(path: Path, saved: dict, current: dict) -> None:
    """Raise ValueError if a checkpoint was made with other settings, naming the first that differs."""
    for key in current:
        if saved.get(key) != current[key]:
            raise ValueError(
                f"checkpoint {path} is of another configuration "
                f"({key}: {saved.get(key)!r} there, {current[key]!r} here): "
                f"use the checkpoint of this run, or resume=false to start over"
            )


def check_model(path: Path, saved: dict, current: dict) -> None:
    """Raise ValueError if two model states differ in names or shapes, naming the first that does."""
    for name in (*current, *saved):
        there, here = (tuple(state[name].shape) if name in state else "none" for state in (saved, current))
        if there != here:
            raise ValueError(
                f"checkpoint {path} is of another model ({name}: shape {there} there, {here} here): "
                f"use the checkpoint of this model, or resume=false to start over"
            )
