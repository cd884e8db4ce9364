"""Figures and tables, declared by experiments and drawn from run directories alone, beside the published numbers."""

from typing import TYPE_CHECKING

from .item import read_item
from .primitives import Bars, Chosen, Claim, Figure, HeatMap, Panel, Plane, Published, PublishedRow, Report, Table
from .training import TRAINING

if TYPE_CHECKING:
    from .writer import write_report

__all__ = [
    "TRAINING",
    "Bars",
    "Chosen",
    "Claim",
    "Figure",
    "HeatMap",
    "Panel",
    "Plane",
    "Published",
    "PublishedRow",
    "Report",
    "Table",
    "read_item",
    "write_report",
]


def __getattr__(name: str):
    # The writer comes when it is used: an experiment that declares its report needs no drawing.
    if name == "write_report":
        from .writer import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
