"""Image sets, class-balanced subsets, and data that lives on a device."""

from lazytorch.data.cifar10 import CIFAR10_MEAN, CIFAR10_STD, cifar10
from lazytorch.data.dataset import from_dataset
from lazytorch.data.device import DeviceData
from lazytorch.data.digits import digits
from lazytorch.data.folder import image_folder
from lazytorch.data.images import ImageSet
from lazytorch.data.sets import load
from lazytorch.data.statistics import channel_statistics
from lazytorch.data.subset import balanced_subset

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "DeviceData",
    "ImageSet",
    "balanced_subset",
    "channel_statistics",
    "cifar10",
    "digits",
    "from_dataset",
    "image_folder",
    "load",
]
