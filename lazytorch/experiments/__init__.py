"""What is run from a configuration."""

from .training_run import load_run, train, train_together

__all__ = ["load_run", "train", "train_together"]
