"""The command line: a hydra application over ``conf/``, a thin layer over :mod:`lazytorch.experiments`."""

from .application import CONF, main

__all__ = ["CONF", "main"]
