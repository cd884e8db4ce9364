"""A picture of a run for TensorBoard: what happened layer by layer."""

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PANELS = {
    "activation_stability_by_layer": ("units as active as at the start", "linear"),
    "displacement_by_module": ("displacement |w - w_0| / |w_0|", "log"),
}
NAMED = 20  # layers in a legend, evenly spaced where there are more
WIDTH, HEIGHT, LEFT, RIGHT, LETTER = 8.0, 3.6, 0.75, 0.6, 0.08  # inches, of a panel, its margins and its legend


def layers_image(rows: list[dict]) -> np.ndarray:
    """Activation stability and displacement of every layer against the epoch, as RGB (height, width, 3) uint8."""
    figure = Figure(figsize=(WIDTH, len(PANELS) * HEIGHT), dpi=100)
    canvas = FigureCanvasAgg(figure)
    for place, (name, (label, scale)) in enumerate(PANELS.items()):
        layers = [layer for layer, value in (rows[-1].get(name) or {}).items() if value is not None]
        axes = _axes(figure, place, max(map(len, layers), default=0))
        for index, layer in enumerate(layers):
            values = [(row.get(name) or {}).get(layer) for row in rows]
            shown = [np.nan if value is None or (value == 0 and scale == "log") else value for value in values]
            colour = colormaps["viridis"](0.9 * index / max(1, len(layers) - 1))
            named = index % -(-len(layers) // NAMED) == 0
            label_here = (layer or "network") if named else None
            axes.plot([row["epoch"] for row in rows], shown, ".-", label=label_here, color=colour)
        axes.set(xlabel="epoch", ylabel=label, yscale=scale)
        if layers:
            axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _axes(figure: Figure, place: int, letters: int):
    """The panel at ``place`` from the top, with room for names of so many letters.

    A layout engine would find that room in more time than the drawing takes.
    """
    legend = min(RIGHT + LETTER * letters, WIDTH / 2)
    bottom = len(PANELS) - 1 - place + 0.15
    return figure.add_axes((LEFT / WIDTH, bottom / len(PANELS), 1 - (LEFT + legend) / WIDTH, 0.8 / len(PANELS)))
