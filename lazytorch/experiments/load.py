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
from .problem import Data, build_network, image_size, read_images, serve

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
    config = _Config(run)
    state = load_checkpoint(run.checkpoint(name))["model"]
    if net is None:
        net = _network(config, trust)
    model = CenteredModel(net, read_alpha(config["alpha"]), config["difference"]).to(data_type(config["precision"]))
    check_model(run.checkpoint(name), state, model.state_dict())
    model.load_state_dict(state)
    model = model.to(device).eval()
    return (model, *_data(config, device)) if data else model


class _Config:
    """The configuration of a run, by key."""

    def __init__(self, run: RunDirectory):
        self.path, self.values = run.path, run.config

    def __getitem__(self, name: str) -> Any:
        if self.values.get(name) is None:
            raise ValueError(f"{self.path / 'config.yaml'} has no {name}: restore it, or train the run again")
        return self.values[name]

    @property
    def is_of_a_script(self) -> bool:
        return self.values.get("_target_") == "lazytorch.Trainer"


def _network(config: _Config, trust: bool) -> nn.Module:
    if config.is_of_a_script:
        raise ValueError(f"{config.path} was made by a script: give its network, load_run(directory, net)")
    target = config["model"].get("_target_")
    if target not in OWN and not trust:
        raise ValueError(
            f"{config.path} is of the network {target}, which is not lazytorch's own: give it, load_run(directory, "
            f"net), or trust=True to import and call it, which runs its code"
        )
    images = {name: value for name, value in config["about"].items() if name in ("classes", "channels", "size")}
    return build_network(config["model"], images, config["seed"])


def _data(config: _Config, device: str) -> tuple[DeviceData, DeviceData]:
    if config.is_of_a_script:
        raise ValueError(f"{config.path} was made by a script, whose data it does not know: leave out data=True")
    try:
        keys = Data(**config["data"])
    except TypeError as error:
        raise ValueError(f"{config.path / 'config.yaml'} has other keys of data than it may ({error})") from error
    check_ranges(keys, "data.")
    train, test, _ = read_images(keys, image_size(config["model"], keys), config["seed"])
    served = serve({"train": train, "test": test}, keys, data_type(config["precision"]), device)
    return served["train"], served["test"]
