"""Grids of parameters of which a part runs by default, and all with ``-m "slow or not slow"``."""

import itertools

import pytest


def thinned(*axes):
    """The product of ``axes`` as parameters; by default as many as the longest axis, which have each value of each."""
    longest = max(len(axis) for axis in axes)
    default = {tuple(axis[i % len(axis)] for axis in axes) for i in range(longest)}
    return [
        pytest.param(*values, id="-".join(map(_name, values)), marks=() if values in default else pytest.mark.slow)
        for values in itertools.product(*axes)
    ]


def _name(value):
    return getattr(value, "name", None) or getattr(value, "__name__", str(value))
