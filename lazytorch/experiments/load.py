"""The trained model of a run directory, and its data."""

import os
from typing import Any

from torch import nn

from ..centered import CenteredModel
from ..data import DeviceData
from ..runs import RunDirectory, read_alpha
from ..training.precision import data_type
from ..training.state import check_model, load_checkpoint
from .fields import check_ranges
from .problem import HINTS, Data, build_network, read_images, serve

OWN = tuple(f"lazytorch.models.{name}" for name in ("vgg11", "resnet18", "mlp", "two_layer"))


def load_run(
    directory: str | os.PathLike,
    net: nn.Module | None = None,
    name: str = "last",
    device: str = "cpu",
    trust: bool = False,
    data: bool = False,
) -> Any:
    """The trained CenteredModel of a run directory, in evaluation mode, from checkpoints/<name>.pt.

    With ``data``, (model, train, test) with the :class:`DeviceData` of the run, read and normalised as it did.

    Args:
        net: a network like the run's, whose weights do not matter; without it one of lazytorch's own models is built
            from the configuration.
        trust: whether to import and call whatever else the configuration names, which runs its code.

    Raises:
        FileNotFoundError, ValueError: no run or no checkpoint there, a damaged one, or a network that is not
            lazytorch's own, without ``net`` or ``trust``.
    """
    run = RunDirectory(directory)
    config = run.config
    state = load_checkpoint(run.checkpoint(name))["model"]
    dtype = data_type(config.get("precision", "float32"))
    if net is None:
        net = _network(run, config, trust)
    model = CenteredModel(net, read_alpha(config["alpha"]), config.get("difference", "divided")).to(dtype)
    check_model(run.checkpoint(name), state, model.state_dict())
    model.load_state_dict(state)
    model = model.to(device).eval()
    return (model, *_data(run, config, device)) if data else model


def _network(run: RunDirectory, config: dict, trust: bool) -> nn.Module:
    model = config.get("model")
    target = str(model.get("_target_")) if isinstance(model, dict) else None
    if config.get("_target_") == "lazytorch.Trainer":
        raise ValueError(f"{run.path} was made by a script: give its network, load_run(directory, net)")
    if target not in OWN and not trust:
        raise ValueError(
            f"{run.path} is of the network {target}, which is not lazytorch's own: give it, load_run(directory, net), "
            f"or trust=True to import and call it, which runs its code"
        )
    try:
        images = {name: config["about"][name] for name in ("classes", "channels", "size")}
        return build_network(model, images, config["seed"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{run.path}/config.yaml does not describe its network ({error}): give it, or restore the file"
        ) from error


def _data(run: RunDirectory, config: dict, device: str) -> tuple[DeviceData, DeviceData]:
    if "data" not in config:
        raise ValueError(f"{run.path} was made by a script, whose data it does not know: leave out data=True")
    try:
        keys, hints, seed = Data(**config["data"]), config["model"].get(HINTS) or {}, config["seed"]
        check_ranges(keys, "data.")
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{run.path}/config.yaml does not describe its data ({error}): restore the file") from error
    images = read_images(keys, keys.size or hints.get("image_size"), seed)
    return serve(*images, keys, data_type(config.get("precision", "float32")), device)
