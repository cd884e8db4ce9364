"""Image sets, class-balanced subsets, and data that lives on a device."""

from .cifar10 import CIFAR10_MEAN, CIFAR10_STD, cifar10
from .dataset import from_dataset
from .device import DeviceData
from .digits import digits
from .folder import image_folder
from .images import ImageSet
from .sets import load
from .sources import as_device_data
from .statistics import channel_statistics
from .subset import balanced_subset, hold_out

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_STD",
    "DeviceData",
    "ImageSet",
    "as_device_data",
    "balanced_subset",
    "channel_statistics",
    "cifar10",
    "digits",
    "from_dataset",
    "hold_out",
    "image_folder",
    "load",
]
