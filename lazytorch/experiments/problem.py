"""The builder of device, data and network, for every experiment that has them."""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import nn

from .. import data, models
from ..data import DeviceData, ImageSet
from ..training.fingerprints import network_fingerprint
from ..training.placement import find_device
from ..training.precision import check_precision, data_type
from .experiment import Experiment
from .fields import key

Value = TypeVar("Value")

LIBRARY = "lazytorch.models."
FROM_THE_DATA = ("classes", "channels", "size")  # a model's keys that the images fill in unless they are given
HINTS = "hints"  # what suits a model: the side of its images, a learning rate


@dataclass(frozen=True)
class Data:
    """An image set."""

    name: str = key("digits", "digits, images (class folders) or cifar10", one_of=("digits", "images", "cifar10"))
    root: str | None = key(None, "where its files are", result=False)
    train_size: int | None = key(None, "class-balanced subset, drawn with the seed; null: the whole set", at_least=1)
    test_size: int | None = key(None, "the same of the test set", at_least=1)
    validation_size: int | None = key(None, "of the training images, held out class-balanced; null: none", at_least=1)
    augment: str = key("none", "none, flip, crop_flip", one_of=("none", "flip", "crop_flip"))
    mean: Any = key(None, "a number a channel, where white is 1; null: the training images' own")
    std: Any = key(None, "the same of the standard deviation")
    size: int | None = key(None, "side in pixels; null: what the model needs, else the images' own", at_least=1)


@dataclass(frozen=True)
class ImageExperiment(Experiment):
    """An experiment on images."""

    data: Data = key(factory=Data, meaning="the images")

    def problem(self) -> "Images":
        """The images.

        Raises:
            ValueError, FileNotFoundError, RuntimeError: what is wrong, in one line with its remedy.
        """
        return Images(find_device(self.device), *read_images(self.data, self.image_size, self.seed), self.data)

    def check_whole_sets(self) -> None:
        """Raise ValueError unless all training images are used as they are, none augmented and none held out."""
        if self.data.augment != "none":
            raise ValueError(
                f"data.augment={self.data.augment}: {type(self).__name__} has no augmentation, set it to none"
            )
        if self.data.validation_size is not None:
            raise ValueError(
                f"data.validation_size={self.data.validation_size}: {type(self).__name__} has no use for images that "
                f"are held out of training, or holds out its own: leave it out"
            )

    @property
    def image_size(self) -> int | None:
        """The side that images are brought to, None for their own."""
        return self.data.size


@dataclass(frozen=True)
class NetworkExperiment(ImageExperiment):
    """An experiment on a network and images; the network is in float32 where there is no field ``precision``."""

    model: dict[str, Any] = key(factory=dict, meaning="a key of the model")

    def problem(self) -> "Problem":
        """The images and the network at w_0, on the device.

        Raises:
            ValueError, TypeError, FileNotFoundError, RuntimeError: what is wrong, in one line with its remedy.
        """
        return build(self)

    def changed(self) -> dict:
        """As of any experiment; of the model, its target and the keys that differ from the target's defaults."""
        target = self.model.get("_target_")
        usual = models.signature_defaults(str(target)) | {HINTS: self.model.get(HINTS)}  # hints are in other fields
        usual = {name: value for name, value in usual.items() if name not in FROM_THE_DATA}
        found = {f"model.{k}": v for k, v in self.model.items() if k not in usual or usual[k] != v}
        found |= {name: value for name, value in super().changed().items() if name != "model"}
        if self.image_size is not None:
            found["data.size"] = self.image_size
        return found

    @property
    def image_size(self) -> int | None:
        """The side that the configuration or the model asks for, None for the images' own."""
        return image_size(self.model, self.data)


@dataclass(frozen=True, eq=False)
class Images:
    """The images, and ``device``, where they are to be."""

    device: torch.device
    train: ImageSet
    test: ImageSet
    validation: ImageSet | None
    keys: Data
    _made: dict = field(default_factory=dict)

    def once(self, name: Any, make: Callable[[], Value]) -> Value:
        """What ``make()`` has returned the first time: what experiments that are run together share."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def data(self, precision: str) -> tuple[DeviceData, DeviceData]:
        """Training and test set on the device in the type of ``precision``, normalised by the configured or the
        training images' statistics, the training set augmented; the same objects at every call."""
        served = self.served(precision)
        return served["train"], served["test"]

    def served(self, precision: str) -> dict[str, DeviceData]:
        """As :meth:`data`, of every set that there is: train, test, and validation if images are held out."""
        dtype = data_type(precision)
        return self.once(dtype, lambda: serve(self.sets, self.keys, dtype, self.device))

    @property
    def sets(self) -> dict[str, ImageSet]:
        """Those that there are, by name."""
        sets = {"train": self.train, "test": self.test, "validation": self.validation}
        return {name: images for name, images in sets.items() if images is not None}

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of every set, whatever the precision."""
        return {name: served.fingerprint() for name, served in self.served("float32").items()}

    @property
    def about(self) -> dict:
        """What a run directory records of the data."""
        return describe(self.train) | {f"{name}_size": len(images) for name, images in self.sets.items()}


@dataclass(frozen=True, eq=False)
class Problem(Images):
    """Images, and the network at w_0 as it was built, on ``device``."""

    net: nn.Module = field(kw_only=True)

    def network(self) -> nn.Module:
        """A copy of the network."""
        return copy.deepcopy(self.net)

    @torch.no_grad()
    def check_one_mode(self, why: str) -> None:
        """Raise ValueError, which says ``why``, if the network is another one while it trains."""
        x, _ = self.data("float32")[0].head(8)
        net = self.network().to(x.dtype)
        with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
            if not torch.equal(net(x), net.eval()(x)):
                raise ValueError(
                    f"the network's outputs are others in training mode (dropout, batch norm), {why}: use a model "
                    f"without"
                )

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """Of the data and the network, whatever the precision."""
        train, _ = self.data("float32")
        return super().fingerprints | {"network": network_fingerprint(self.net, train.head(2)[0])}

    @property
    def about(self) -> dict:
        """What a run directory records of data and network."""
        return super().about | {"model": type(self.net).__name__}


def build(experiment: NetworkExperiment) -> Problem:
    """The problem that the fields of ``experiment`` describe; see :meth:`NetworkExperiment.problem`."""
    device, precision = find_device(experiment.device), getattr(experiment, "precision", "float32")
    check_precision(precision, device)
    sets = read_images(experiment.data, experiment.image_size, experiment.seed)
    net = build_network(experiment.model, describe(sets[0]), experiment.seed)
    problem = Problem(device, *sets, experiment.data, net=net.to(device, data_type(precision)))
    check_classes(net, len(problem.train.classes), problem.data(precision)[0].head(2)[0])
    return problem


def image_size(model: dict[str, Any], keys: Data) -> int | None:
    """The side that ``keys`` ask for, else the one that suits the model, else None."""
    return keys.size or (model.get(HINTS) or {}).get("image_size")


def read_images(keys: Data, size: int | None, seed: int) -> tuple[ImageSet, ImageSet, ImageSet | None]:
    """The images to train on, to test and to validate on (None if none are held out), at ``size`` pixels a side or
    their own."""
    train, test = data.load(keys.name, keys.root, keys.train_size, keys.test_size, size, seed)
    if keys.validation_size is None:
        return train, test, None
    fitted, held_out = data.hold_out(train.labels, keys.validation_size, seed)
    return train.select(fitted), test, train.select(held_out)


def serve(
    sets: Mapping[str, ImageSet], keys: Data, dtype: torch.dtype, device: torch.device | str
) -> dict[str, DeviceData]:
    """The sets on the device, normalised as ``keys`` say or by the statistics of ``train``; only that is augmented."""
    common: dict[str, Any] = {"device": device, "dtype": dtype}
    for name, own in zip(("mean", "std"), data.channel_statistics(sets["train"].images), strict=True):
        given = getattr(keys, name)
        common[name] = own if given is None else _per_channel(name, given)
    augment = {"train": {"augment": keys.augment}}
    return {
        name: DeviceData(images.images, images.labels, **augment.get(name, {}), **common)
        for name, images in sets.items()
    }


def describe(train: ImageSet) -> dict[str, int]:
    """What a network must know of the images: ``classes``, ``channels`` and ``size``, their side in pixels."""
    return {"classes": len(train.classes), "channels": train.images.shape[1], "size": train.images.shape[-1]}


def build_network(model: dict[str, Any], images: dict[str, int], seed: int) -> nn.Module:
    """The network with its initial weights, drawn from the seed, for the images that ``describe`` describes.

    One of ``lazytorch.models`` is told classes, channels and size where it takes them and ``model`` does not say; the
    user's own module gets the configured keys alone.
    """
    keys = {name: value for name, value in model.items() if name not in ("_target_", HINTS)}
    target = model.get("_target_")
    if not isinstance(target, str):
        raise ValueError("model._target_ is not given: choose model=vgg11, say, or model=custom model._target_=...")
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        if not target.startswith(LIBRARY):
            return models.custom(target, **keys)
        builder = _library_model(target)
        accepted = inspect.signature(builder).parameters
        known = {name: value for name, value in images.items() if name in accepted}
        try:
            return builder(**(known | keys))
        except TypeError as error:
            raise ValueError(f"{target} refuses its keys ({error}): it has {', '.join(accepted)}") from error


def _library_model(target: str):
    name = target.removeprefix(LIBRARY)
    if name not in models.__all__ or name == "custom":
        raise ValueError(f"no model {target!r}: lazytorch.models has {', '.join(models.__all__)}")
    return getattr(models, name)


@torch.no_grad()
def check_classes(net: nn.Module, classes: int, inputs: torch.Tensor) -> None:
    """Raise ValueError if the network's outputs are not one a class, in a trial of a copy on ``inputs``."""
    with torch.random.fork_rng([inputs.device] if inputs.device.type == "cuda" else []):
        outputs = copy.deepcopy(net).eval()(inputs)
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else type(outputs).__name__
    if shape != (len(inputs), classes):
        raise ValueError(
            f"the network maps {len(inputs)} images to {shape}, but the data has {classes} classes: "
            f"give it that many outputs (as +model.classes={classes}, or your module's own key)"
        )


def _per_channel(name: str, value) -> list[float]:
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    if not all(isinstance(number, (int, float)) for number in values):
        raise ValueError(f"data.{name} is {value!r}: give one number a channel, as [0.5, 0.5, 0.5]")
    return values
