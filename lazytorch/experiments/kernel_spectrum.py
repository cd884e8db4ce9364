"""The spectrum of the tangent kernel at w_0, on images and on noise (Chizat, Oyallon & Bach 2019, appendix C)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..data import DeviceData, ImageSet
from ..kernels import Spectrum, empirical_ntk, kernel_spectrum
from ..kernels.matrix import ROUNDING
from ..reports.spectrum import spectrum_figure
from ..reports.style import save
from ..runs import RunDirectory, write_atomically
from .measurement import Problem, measure

KEYS = {"precision"}


def run(config: dict) -> RunDirectory:
    """All n K eigenvalues of the full kernel of ``data.train_size`` = n images, and of n images of uniform noise.

    The pixels of the noise are uniform on 0 ... 255, and normalised as those of the images. The run directory receives
    images.csv and noise.csv (eigenvalues, from the largest; once there they are not computed again) and
    spectrum.{png,pdf}. Cost: two kernels, and 4 (n K)^3 / 3 operations in float64 for each.

    Raises:
        ValueError, TypeError: what ``measure`` raises.
    """
    return measure(config, _measure)


def _measure(problem: Problem, path: Path) -> dict:
    # The test set's place is taken by noise, which is normalised by the training images' statistics.
    images, noise = replace(problem, test=_noise(problem)).data(problem.config["precision"])
    summary = {"inputs": len(images), "outputs": len(problem.train.classes)}
    for name, data in (("images", images), ("noise", noise)):
        spectrum = _spectrum(problem, data, path / f"{name}.csv")
        summary[name] = {
            "largest": spectrum.eigenvalues[0].item(),
            "smallest": spectrum.eigenvalues[-1].item(),
            "rounding": spectrum.rounding,
            "condition_number": spectrum.condition_number,
            "effective_rank": spectrum.effective_rank,
            "rank": spectrum.rank,
        }
    save(spectrum_figure(path, summary), path / "spectrum")
    return summary


def _noise(problem: Problem) -> ImageSet:
    generator = torch.Generator().manual_seed(problem.config["seed"])
    shape = problem.train.images.shape
    pixels = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, problem.train.labels, problem.train.classes)


def _spectrum(problem: Problem, data: DeviceData, path: Path) -> Spectrum:
    """That of the kernel on ``data``, from ``path`` if it is there already."""
    if not path.exists():
        spectrum = kernel_spectrum(empirical_ntk(problem.net, data.head(len(data))[0]))
        rows = spectrum.eigenvalues.cpu().numpy()
        write_atomically(path, lambda file: np.savetxt(file, rows, "%.17g", header="eigenvalue", comments=""))
    eigenvalues = torch.from_numpy(np.loadtxt(path, skiprows=1, ndmin=1))
    return Spectrum(eigenvalues, ROUNDING * torch.finfo(data.dtype).eps * eigenvalues.norm().item())
