"""What is run from a configuration."""

from .kinds import Kind, find_kind, run
from .training_run import load_run, train, train_together

__all__ = ["Kind", "find_kind", "load_run", "run", "train", "train_together"]
