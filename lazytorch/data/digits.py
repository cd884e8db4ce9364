"""scikit-learn's handwritten digits: the small real image set that needs no download."""

import torch

from .images import ImageSet


def digits() -> tuple[ImageSet, ImageSet]:
    """1442 training and 355 test images (N, 1, 8, 8) of ten digits, grey levels 0..16 scaled to 0..255.

    The split is fixed: every fifth image of each class is a test image.

    Source: scikit-learn's ``load_digits``, the test part of the UCI set of Alpaydin & Kaynak, 1998.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels).mul(255 / 16).round().to(torch.uint8).reshape(-1, 1, 8, 8)
    labels = torch.from_numpy(labels).long()
    test = torch.zeros_like(labels, dtype=torch.bool)
    for label in range(10):
        test[(labels == label).nonzero()[4::5]] = True
    everything = ImageSet(images, labels, tuple("0123456789"))
    return everything.select(~test), everything.select(test)
