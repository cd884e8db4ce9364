import pytest

from lazytorch.data import digits, load


def test_the_whole_set_is_unchanged():
    for loaded, whole in zip(load("digits"), digits(), strict=True):
        assert loaded.fingerprint() == whole.fingerprint()


def test_unknown_names_are_listed():
    with pytest.raises(ValueError, match="unknown image set 'mnist': choose digits, images or cifar10"):
        load("mnist")
