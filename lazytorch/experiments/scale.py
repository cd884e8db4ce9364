"""Experiments at several scales: one file, whose values are written as ``${scaled:PAPER,LAPTOP,SMOKE}``."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

SCALES = ("paper", "laptop", "smoke")  # the source's own protocol; hours on 2 cores; a minute


def scaled(*values: Any, _root_: DictConfig) -> Any:
    """The value for the configured ``scale``, the paper's where there is none.

    Raises:
        ValueError: there is no such scale, or not one value for each.
    """
    scale = _root_.get("scale") or SCALES[0]
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}: choose one of {', '.join(SCALES)}")
    if len(values) != len(SCALES):
        raise ValueError(f"${{scaled:...}} has {len(values)} values: give one for each of {', '.join(SCALES)}")
    return values[SCALES.index(scale)]


OmegaConf.register_new_resolver("scaled", scaled, replace=True)
