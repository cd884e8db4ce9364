import torch
from sklearn.datasets import load_digits

from lazytorch.data import digits, load


def test_the_split_is_a_partition_of_scikit_learns_digits():
    train, test = digits()
    pixels = torch.cat([train.images, test.images]).flatten(1).double() * 16 / 255
    labels = torch.cat([train.labels, test.labels])
    got = sorted(map(tuple, torch.cat([pixels.round(), labels[:, None]], dim=1).tolist()))
    data, target = load_digits(return_X_y=True)
    assert got == sorted((*row, label) for row, label in zip(data.tolist(), target.tolist(), strict=True))
    assert (pixels - pixels.round()).abs().max() < 0.04


def test_the_split_is_stratified_and_fixed():
    train, test = digits()
    share = test.labels.bincount() / (train.labels.bincount() + test.labels.bincount())
    assert len(train) == 1442 and len(test) == 355
    assert ((share - 0.2).abs() < 0.01).all()
    assert train.fingerprint() == digits()[0].fingerprint()
    assert train.images.shape[1:] == (1, 8, 8) and train.images.max() == 255


def test_subsets_and_sizes():
    train, test = load("digits", train_size=25, test_size=10, size=32, seed=3)
    assert train.images.shape == (25, 1, 32, 32) and test.images.shape == (10, 1, 32, 32)
    assert sorted(train.labels.bincount().tolist()) == [2] * 5 + [3] * 5
    assert test.labels.bincount().tolist() == [1] * 10
