"""What is run from a configuration: the protocol, and one file for each experiment."""

from .experiment import Experiment
from .fields import key
from .kernel_spectrum import KernelSpectrum
from .linear_dynamics import LinearDynamics
from .load import load_run
from .perform import Outcome, perform, perform_together
from .problem import Data, ImageExperiment, Images, NetworkExperiment, Problem
from .run import Run
from .training import Training

__all__ = [
    "Data",
    "Experiment",
    "ImageExperiment",
    "Images",
    "KernelSpectrum",
    "LinearDynamics",
    "NetworkExperiment",
    "Outcome",
    "Problem",
    "Run",
    "Training",
    "key",
    "load_run",
    "perform",
    "perform_together",
]
