"""Figures and tables, made from run directories alone, beside the published numbers."""

from lazytorch.reports.report import write_report
from lazytorch.reports.sweep import Sweep, read_sweep

__all__ = ["Sweep", "read_sweep", "write_report"]
