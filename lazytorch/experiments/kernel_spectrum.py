"""The spectrum of the tangent kernel at w_0, on images and on noise (Chizat, Oyallon & Bach 2019, appendix C)."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..data import DeviceData, ImageSet
from ..kernels import Spectrum, empirical_ntk, kernel_spectrum
from ..kernels.matrix import ROUNDING
from ..reports import Claim, Figure, Panel, Report
from ..training.precision import data_type
from .fields import key
from .problem import NetworkExperiment, Problem, serve
from .run import Run


@dataclass(frozen=True)
class KernelSpectrum(NetworkExperiment):
    """All n K eigenvalues of the full kernel of ``data.train_size`` = n images, and of n images of uniform noise.

    The pixels of the noise are uniform on 0 ... 255, and normalised as those of the images. Cost: two kernels, and
    4 (n K)^3 / 3 operations in float64 for each.
    """

    precision: str = key("float64", "float64 or float32", one_of=("float64", "float32"))

    report: ClassVar[Report] = Report(
        Figure(
            "spectrum",
            Panel(
                "spectrum",
                x="index",
                y="eigenvalue",
                by="inputs",
                where={"resolved": 1},
                xscale="log",
                yscale="log",
            ),
            caption="Eigenvalues of the tangent kernel of all outputs at initialisation, from the largest, on images "
            "and on uniform noise; those below the kernel's rounding are left out.",
        ),
        Claim(
            "the kernel is badly conditioned on images and on noise (condition number above 1000)",
            lambda summary: all(_is_above(summary[name]["condition_number"], 1e3) for name in ("images", "noise")),
            source="Chizat, Oyallon & Bach 2019, appendix C",
        ),
    )

    smoke = ("data.train_size=10", "model.width=0.05")

    def check(self) -> None:
        """Raise ValueError for a setting that is out of range, or that the spectrum has no use for."""
        super().check()
        self.check_whole_sets()
        if self.data.test_size is not None:
            raise ValueError("the spectrum is of training images: leave out data.test_size")

    def run(self, run: Run) -> dict:
        """spectrum.csv: the eigenvalues, of images and of noise, and whether they are above the rounding (resolved)."""
        problem = run.problem
        # The noise is normalised by the training images' statistics.
        noise, dtype = _noise(problem, self.seed), data_type(self.precision)
        served = serve({"train": problem.train, "noise": noise}, problem.keys, dtype, problem.device)
        summary: dict = {}
        for name, data in run.progress(list(zip(("images", "noise"), served.values(), strict=True)), "spectra"):
            rows = run.part("spectrum", lambda d=data: _rows(problem, d), inputs=name)
            spectrum = _spectrum([row["eigenvalue"] for row in rows], data)
            summary[name] = {
                "condition_number": spectrum.condition_number,
                "effective_rank": spectrum.effective_rank,
                "rank": spectrum.rank,
                "largest": spectrum.eigenvalues[0].item(),
                "smallest": spectrum.eigenvalues[-1].item(),
                "rounding": spectrum.rounding,
            }
        return summary | {"inputs": len(problem.train), "outputs": len(problem.train.classes)}


def _is_above(number: float | None, bound: float) -> bool:
    return number is None or number > bound  # summary.json has null for infinity


def _noise(problem: Problem, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, problem.train.images.shape, generator=generator, dtype=torch.uint8)
    return ImageSet(pixels, problem.train.labels, problem.train.classes)


def _rows(problem: Problem, data: DeviceData) -> list[dict]:
    spectrum = kernel_spectrum(empirical_ntk(problem.net, data.head(len(data))[0]))
    return [
        {"index": index, "eigenvalue": value, "resolved": int(value > spectrum.rounding)}
        for index, value in enumerate(spectrum.eigenvalues.tolist(), start=1)
    ]


def _spectrum(eigenvalues: list[float], data: DeviceData) -> Spectrum:
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    return Spectrum(values, ROUNDING * torch.finfo(data.dtype).eps * values.norm().item())
