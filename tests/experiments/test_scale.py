"""Experiments at several scales."""

import re

import pytest
from omegaconf import OmegaConf

from lazytorch.experiments.compose import compose
from lazytorch.experiments.scale import SCALES


def composed(**values):
    return compose(OmegaConf.create({"_target_": "lazytorch.experiments.KernelSpectrum", **values}), "spectrum")


@pytest.mark.parametrize(("scale", "size"), list(zip(SCALES, (None, 100, 10), strict=True)))
def test_value_is_that_of_the_scale(scale, size):
    experiment = composed(scale=scale, data={"train_size": "${scaled:null,100,10}"})
    assert experiment.data.train_size == size and experiment.scale == scale


def test_scale_itself_does_not_count_in_the_identity():
    by_scale = composed(scale="laptop", data={"train_size": "${scaled:null,100,10}"})
    assert by_scale.changed() == composed(data={"train_size": 100}).changed()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"scale": "big", "seed": "${scaled:1,2,3}"}, "seed: unknown scale 'big': choose one of paper, laptop, smoke"),
        ({"scale": "paper", "seed": "${scaled:1,2}"}, "has 2 values: give one for each of paper, laptop, smoke"),
    ],
)
def test_wrong_scales_are_refused(values, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        composed(**values)
