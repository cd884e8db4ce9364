"""Small trainings that the tests of this folder share."""

import torch
from torch import nn

import lazytorch as lt
from lazytorch.data import DeviceData


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def points(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 3
    return torch.randn(n, 6, generator=generator) + 2 * nn.functional.one_hot(labels, 6), labels


TRAIN, TEST = points(61), points(23, 1)


def make(alpha=10.0, run_dir=None, net=None, train=TRAIN, test=TEST, **options):
    """A trainer of a two-layer network on points."""
    options = {"lr": 0.1, "batch_size": 8, "probe_size": 5} | options
    return lt.Trainer(lt.CenteredModel(net or network(), alpha), train, test, run_dir=run_dir, **options)


def images(n, seed, **options):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return DeviceData(pixels, torch.arange(n) % 3, mean=(0.5,), std=(0.3,), dtype=torch.float64, **options)


IMAGES, TEST_IMAGES = images(61, 0, augment="crop_flip"), images(20, 1)


def convolutional():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 3)
    return nn.Sequential(*layers).double()


def make_convolutional(alpha, run_dir=None, **options):
    """A trainer with all that a step can depend on, batch norm, dropout and augmentation, in float64."""
    options = {"lr": 0.1, "batch_size": 8, "probe_size": 3, "precision": "float64"} | options
    return lt.Trainer(lt.CenteredModel(convolutional(), alpha), IMAGES, TEST_IMAGES, run_dir=run_dir, **options)


def without_times(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same(left, right):
    """Two states, bit for bit."""
    torch.testing.assert_close(left, right, rtol=0, atol=0, equal_nan=True)
