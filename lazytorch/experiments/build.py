"""From a configuration to the parts of a run: data, network, objective."""

import importlib
import inspect
import types
from collections.abc import Callable

import torch
from torch import nn

from .. import data, models
from ..training.precision import data_type

LIBRARY = "lazytorch.models."


def build_device(name: str) -> torch.device:
    """ "auto" is cuda where there is one, else cpu. Raises ValueError if the device is unknown or not there."""
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


def build_images(config: dict) -> tuple[data.ImageSet, data.ImageSet]:
    """The training and test images that ``data`` asks for, at the side that the model is made for."""
    keys = config["data"]
    size = keys["size"] or config["model"].get("image_size")
    return data.load(keys["name"], keys["root"], keys["train_size"], keys["test_size"], size, config["seed"])


def build_data(config: dict, train: data.ImageSet, test: data.ImageSet, device: torch.device):
    """Both sets on the device, normalised by the configured or the training images' statistics; training augmented."""
    keys = config["data"]
    own = dict(zip(("mean", "std"), data.channel_statistics(train.images), strict=True))
    mean, std = (own[name] if keys[name] is None else _per_channel(name, keys[name]) for name in own)
    common = {
        "device": device,
        "mean": mean,
        "std": std,
        "dtype": data_type(config["precision"]),
    }
    return (
        data.DeviceData(train.images, train.labels, augment=keys["augment"], **common),
        data.DeviceData(test.images, test.labels, **common),
    )


def _per_channel(name: str, value) -> list[float]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(number, (int, float)) for number in values):
        raise ValueError(f"data.{name} is {value!r}: give one number a channel, as [0.5, 0.5, 0.5]")
    return values


def describe(train: data.ImageSet) -> dict[str, int]:
    """What a network must know of the images: ``classes``, ``channels`` and ``size``, their side in pixels."""
    return {"classes": len(train.classes), "channels": train.images.shape[1], "size": train.images.shape[-1]}


def build_network(config: dict, images: dict[str, int]) -> nn.Module:
    """The network with its initial weights, drawn from the seed, for the images that ``describe`` describes.

    One of ``lazytorch.models`` is told classes, channels and size where it takes them and the configuration does not
    say; the user's own module gets the configured keys alone.
    """
    keys = {name: value for name, value in config["model"].items() if name not in ("_target_", "image_size")}
    target = config["model"]["_target_"]
    with torch.random.fork_rng([]):
        torch.manual_seed(config["seed"])
        if not target.startswith(LIBRARY):
            return models.custom(target, **keys)
        builder = _library_model(target)
        accepted = inspect.signature(builder).parameters
        known = {name: value for name, value in images.items() if name in accepted}
        try:
            return builder(**(known | keys))
        except TypeError as error:
            raise ValueError(f"{target} refuses its keys: {error}") from error


def _library_model(target: str) -> Callable[..., nn.Module]:
    name = target.removeprefix(LIBRARY)
    if name not in models.__all__ or name == "custom":
        raise ValueError(f"no model {target!r}: lazytorch.models has {', '.join(models.__all__)}")
    return getattr(models, name)


def check_classes(net: nn.Module, classes: int, inputs: torch.Tensor) -> None:
    """Raise ValueError if the network's outputs are not one a class, in a trial on ``inputs``."""
    training = net.training
    with torch.no_grad(), torch.random.fork_rng([]):
        outputs = net.eval()(inputs)
    net.train(training)
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (len(inputs), classes):
        raise ValueError(
            f"the network maps {len(inputs)} images to {shape}, but the data has {classes} classes: "
            f"give it that many outputs (as +model.classes={classes}, or your module's own key)"
        )


def build_loss(loss):
    """``loss`` by name, or the function that {_target_: module.function} names."""
    if isinstance(loss, str):
        return loss
    if not isinstance(loss, dict) or set(loss) != {"_target_"}:
        raise ValueError(f"loss is {loss!r}: give mse, cross_entropy, or +loss._target_=module.function alone")
    target = str(loss["_target_"])
    module, _, name = target.rpartition(".")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"loss._target_={target} cannot be imported ({error}): correct it") from error
    if not isinstance(function, types.FunctionType):
        raise ValueError(f"loss._target_={target} is a {type(function).__name__}: name a function (outputs, labels)")
    return function
