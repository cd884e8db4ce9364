"""The figure of a kernel's spectrum, on images and on noise."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..quantities import BLUE, GREY, VERMILION
from .style import house_style

INPUTS = {"images": BLUE, "noise": VERMILION}


def spectrum_figure(directory: Path, summary: dict) -> Figure:
    """Eigenvalues from the largest, on logarithmic axes, from images.csv and noise.csv in ``directory``.

    ``summary`` is the run's; eigenvalues below the kernel's rounding are left out.
    """
    with house_style():
        figure = Figure(figsize=(4.6, 3.2), layout="constrained")
        axes = figure.subplots()
        for name, color in INPUTS.items():
            eigenvalues = np.loadtxt(directory / f"{name}.csv", skiprows=1, ndmin=1)
            shown = eigenvalues[eigenvalues > summary[name]["rounding"]]
            axes.plot(np.arange(1, len(shown) + 1), shown, color=color, label=_label(name, summary[name]))
        axes.set(xscale="log", yscale="log", xlabel="index", ylabel="eigenvalue of the tangent kernel")
        axes.set_title(f"{summary['inputs']} inputs, {summary['outputs']} outputs", loc="left", color=GREY)
        axes.legend(loc="lower left")
    return figure


def _label(name: str, values: dict) -> str:
    number = values["condition_number"]
    condition = f"{number:.1e}" if number is not None and np.isfinite(number) else "infinite"
    return f"{name}: condition number {condition},\neffective rank {values['effective_rank']:.3g}"
