"""Run directories: what identifies a run, and how its records are written and read.

Nothing else passes between a run and its report.
"""

from lazytorch.runs.directory import RunDirectory, find
from lazytorch.runs.identity import canonical, identity, read_alpha
from lazytorch.runs.writing import write_atomically

__all__ = ["RunDirectory", "canonical", "find", "identity", "read_alpha", "write_atomically"]
