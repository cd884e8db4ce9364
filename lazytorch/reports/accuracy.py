"""The figure of accuracy: final accuracies and the stability of activations against alpha."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lazytorch.reports.alpha_axis import AlphaAxis
from lazytorch.reports.lines import deviation, draw_diverged, draw_means, legend, say_if_empty, seeds
from lazytorch.reports.style import house_style, legend_below, two_panels
from lazytorch.reports.sweep import Sweep

PANELS = (("train_accuracy", "test_accuracy"), ("activation_stability",))
TITLES = ("accuracy (%)", "stability of activations (%)")


def accuracy_figure(sweep: Sweep) -> Figure:
    """Left the train and test accuracy, right the stability of activations, mean and standard deviation over seeds."""
    with house_style():
        figure, panels = two_panels()
        for axes, keys, title in zip(panels, PANELS, TITLES, strict=True):
            _draw_panel(axes, sweep, keys, title)
        caption = f"mean ± standard deviation over seeds, {seeds(sweep)}"
        legend_below(figure, legend(sweep, PANELS), caption, columns=4 if len(sweep.series) == 1 else 2)
    return figure


def _draw_panel(axes: Axes, sweep: Sweep, keys: tuple[str, ...], title: str) -> None:
    axis = AlphaAxis(sweep.alphas)
    for key in keys:
        draw_means(axes, axis, sweep, key, deviation, scale=100)
    draw_diverged(axes, axis, sweep)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -2), min(top, 102))
    axes.set_ylabel(title)
    axis.dress(axes)
    say_if_empty(axes)
