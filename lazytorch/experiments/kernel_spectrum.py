"""The spectrum of the tangent kernel at w_0, on images and on noise (Chizat, Oyallon & Bach 2019, appendix C)."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from ..data import DeviceData, ImageSet
from ..kernels import Spectrum, empirical_ntk, kernel_spectrum
from ..kernels.matrix import ROUNDING
from ..reports import Claim, Figure, Panel, Report
from .problem import NetworkExperiment, Problem
from .run import Run


@dataclass(frozen=True)
class KernelSpectrum(NetworkExperiment):
    """All n K eigenvalues of the full kernel of ``data.train_size`` = n images, and of n images of uniform noise.

    The pixels of the noise are uniform on 0 ... 255, and normalised as those of the images. Cost: two kernels, and
    4 (n K)^3 / 3 operations in float64 for each.
    """

    report: ClassVar[Report] = Report(
        Figure(
            "spectrum",
            Panel("spectrum", x="index", y="eigenvalue", by="inputs", xscale="log", yscale="log"),
            caption="Eigenvalues of the tangent kernel of all outputs at initialisation, from the largest, on images "
            "and on uniform noise; those below the kernel's rounding are left out.",
        ),
        Claim(
            "the kernel is badly conditioned on images and on noise (condition number above 1000)",
            lambda summary: min(summary["images"]["condition_number"], summary["noise"]["condition_number"]) > 1e3,
            source="Chizat, Oyallon & Bach 2019, appendix C",
        ),
    )

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that the spectrum has no use for."""
        super().check()
        if self.data.augment != "none" or self.data.test_size is not None:
            raise ValueError("the spectrum is of plain training images: leave out data.augment and data.test_size")

    def run(self, run: Run) -> dict:
        """spectrum.csv: the eigenvalues above the kernel's rounding, for inputs = images and noise."""
        problem = run.problem
        # The test set's place is taken by noise, which is normalised by the training images' statistics.
        sets = replace(problem, test=_noise(problem, self.seed), served={}).data(self.precision)
        summary = {"inputs": len(sets[0]), "outputs": len(problem.train.classes)}
        for name, data in run.progress(list(zip(("images", "noise"), sets, strict=True)), "spectra"):
            rows = run.part("spectrum", lambda d=data: _rows(problem, d), inputs=name)
            spectrum = _spectrum([row["eigenvalue"] for row in rows], data)
            summary[name] = {
                "largest": spectrum.eigenvalues[0].item(),
                "smallest": spectrum.eigenvalues[-1].item(),
                "rounding": spectrum.rounding,
                "condition_number": spectrum.condition_number,
                "effective_rank": spectrum.effective_rank,
                "rank": spectrum.rank,
            }
        return summary


def _noise(problem: Problem, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, problem.train.images.shape, generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, problem.train.labels, problem.train.classes)


def _rows(problem: Problem, data: DeviceData) -> list[dict]:
    spectrum = kernel_spectrum(empirical_ntk(problem.net, data.head(len(data))[0]))
    return [{"index": i, "eigenvalue": value} for i, value in enumerate(spectrum.eigenvalues.tolist(), start=1)]


def _spectrum(eigenvalues: list[float], data: DeviceData) -> Spectrum:
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    return Spectrum(values, ROUNDING * torch.finfo(data.dtype).eps * values.norm().item())
