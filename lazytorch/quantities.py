"""Every quantity, declared once: summary, metrics, TensorBoard, tables, figures and documentation derive from here."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

# Okabe and Ito's colours, which the colour-blind tell apart too.
BLUE, VERMILION, GREEN, PURPLE, SKY, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY = "#777777"


@dataclass(frozen=True)
class Quantity:
    """What is measured, or varied, and how it is shown.

    Args:
        name: its key in summary.json, metrics.jsonl and tables.
        meaning: what it is, with its formula.
        label: of axes and legends, in matplotlib's mathematics; the name, spelt out, if empty.
        percent: whether a share is shown in percent.
        digits: format of a number in tables.
        tag: where TensorBoard shows it; None for nowhere.
        log: whether it spans decades: figures draw it on a logarithmic axis, TensorBoard gets its log10.
        floor: at or below which a number is zero or the measurement's own rounding.
        in_summary: whether summary.json has it.
        by_layer: whether it is a mapping layer -> number.
        color, marker, linestyle: in figures.
    """

    name: str
    meaning: str = ""
    label: str = ""
    percent: bool = False
    digits: str = ".3g"
    tag: str | None = None
    log: bool = False
    floor: float = 0.0
    in_summary: bool = False
    by_layer: bool = False
    color: str = BLUE
    marker: str = "o"
    linestyle: str = "-"

    @property
    def title(self) -> str:
        """The label with its unit."""
        return self.short + (" (%)" if self.percent else "")

    @property
    def short(self) -> str:
        """The label."""
        return self.label or self.name.replace("_", " ")

    def spell(self, value: float | None) -> str:
        """``value`` in a table: in percent or with a few digits, – where there is none."""
        if value is None or math.isnan(value):
            return "–"
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        return f"{100 * value:.1f}" if self.percent else f"{value:{self.digits}}"

    def to_dict(self) -> dict:
        """The declaration as plain values, from which ``Quantity(**values)`` makes it again."""
        return asdict(self)


DECLARED = (
    # What is varied.
    Quantity("alpha", "the scale, in (0, inf]", r"scale $\alpha$", log=True),
    Quantity("lr", "the learning rate at epoch 0", r"learning rate $\eta_0$", log=True),
    Quantity("width", "the factor on the channels, or the units of a layer", "width", digits="g", log=True),
    Quantity("epoch", "epochs since the start", "epoch", digits="g"),
    Quantity("step", "steps of the optimizer since the start", "step", digits="g"),
    Quantity("filters", "filters of random features", "filters", digits="g", log=True),
    Quantity("tau", "the standard deviation of initial weights", r"initial scale $\tau$", log=True),
    Quantity("neurons", "of a two-layer student, m", "neurons $m$", digits="g", log=True),
    # What training measures.
    Quantity(
        "test_accuracy",
        "share of the test set classified right, in evaluation mode",
        "test accuracy",
        percent=True,
        tag="accuracy/test",
        in_summary=True,
        color=VERMILION,
        marker="s",
    ),
    Quantity(
        "train_accuracy",
        "share of the training set classified right, in evaluation mode and unaugmented",
        "train accuracy",
        percent=True,
        tag="accuracy/train",
        in_summary=True,
        linestyle="--",
    ),
    Quantity(
        "train_accuracy_running",
        "share of the epoch's augmented batches classified right, each before its step",
        "train accuracy, running",
        percent=True,
        tag="accuracy/train_running",
        color=SKY,
        linestyle=":",
    ),
    Quantity(
        "validation_accuracy",
        "share right of the training images that are held out, on which settings are chosen",
        "validation accuracy",
        percent=True,
        tag="accuracy/validation",
        in_summary=True,
        color=GREEN,
        marker="D",
        linestyle="-.",
    ),
    Quantity(
        "test_loss", "R on the test set", "test loss", tag="loss/test", log=True, in_summary=True, color=VERMILION
    ),
    Quantity(
        "validation_loss", "R on the images held out", "validation loss", tag="loss/validation", log=True, color=GREEN
    ),
    Quantity(
        "train_loss",
        "R on the training set, not divided by alpha^2",
        "training loss",
        tag="loss/train",
        log=True,
        in_summary=True,
        linestyle="--",
    ),
    Quantity("best_test_loss", "the least R on the test set along training", "best test loss", log=True, color=SKY),
    Quantity(
        "population_loss", "the mean of R on the last new batches", "of the last batches", log=True, color=VERMILION
    ),
    Quantity(
        "exact_loss",
        "R over the distribution of the inputs, in closed form",
        "exact, at the end",
        log=True,
        linestyle="--",
    ),
    Quantity(
        "displacement",
        "|w - w_0| / |w_0| over all trainable parameters",
        r"displacement $|w - w_0|\,/\,|w_0|$",
        digits=".2e",
        tag="laziness/displacement",
        log=True,
        in_summary=True,
        color=PURPLE,
    ),
    Quantity(
        "ntk_drift",
        "|K - K_0| / |K_0| in the Frobenius norm, of the full tangent kernel on the probe inputs, in float64",
        r"kernel drift $|K - K_0|\,/\,|K_0|$",
        digits=".2e",
        tag="laziness/ntk_drift",
        log=True,
        floor=1e-14,
        in_summary=True,
        color=SKY,
        marker="s",
    ),
    Quantity(
        "kernel_distance",
        "1 - <K, K_0> / (|K| |K_0|) of the same kernels",
        r"kernel distance $1 - \cos(K, K_0)$",
        digits=".2e",
        tag="laziness/kernel_distance",
        log=True,
        floor=1e-28,
        in_summary=True,
        color=ORANGE,
        marker="D",
        linestyle="--",
    ),
    Quantity(
        "activation_stability",
        "share of ReLU units active at w as at w_0, over the test inputs, mean over layers",
        "stability of activations",
        percent=True,
        tag="laziness/activation_stability",
        in_summary=True,
        color=GREEN,
        marker="^",
    ),
    Quantity(
        "linearization_error",
        "|D f - J theta| / |D f| for the outputs D f of the model on the probe inputs, in float64",
        r"linearization error $|Df - J\theta|\,/\,|Df|$",
        digits=".2e",
        tag="laziness/linearization_error",
        log=True,
        floor=1e-15,
        in_summary=True,
        color=VERMILION,
        marker="v",
    ),
    Quantity(
        "top_eigenvalue",
        "largest eigenvalue of the full tangent kernel on the probe inputs, over n K",
        r"$\lambda_{\max}(\Theta)\,/\,nK$",
        tag="laziness/top_eigenvalue",
        log=True,
        in_summary=True,
    ),
    Quantity(
        "kappa",
        "|D^2 f(w_0)| / (alpha |Df(w_0)|^2) on the probe inputs, a lower bound: training is lazy where it is << 1",
        r"$\kappa(w_0)$",
        digits=".2e",
        tag="laziness/kappa",
        log=True,
        in_summary=True,
    ),
    Quantity("theta_norm", "|theta|, theta = alpha (w - w_0)", r"$|\theta|$", tag="optimisation/theta_norm"),
    Quantity("learning_rate", "the learning rate of the next epoch", "learning rate", tag="optimisation/learning_rate"),
    Quantity(
        "displacement_by_module",
        "displacement of each module's own parameters",
        "displacement",
        tag="per_layer_displacement",
        log=True,
        by_layer=True,
    ),
    Quantity(
        "activation_stability_by_layer",
        "stability of each ReLU call",
        "stability of activations",
        percent=True,
        tag="per_layer_stability",
        by_layer=True,
    ),
    # What the linear methods vary and measure.
    Quantity("regulariser", "r of ridge regression, over the kernel's mean eigenvalue", "regulariser $r$", log=True),
    Quantity("bandwidth", "of a Gaussian kernel, in mean squared distances", "bandwidth $b$"),
    Quantity("features", "numbers that a linear method is given of an image", digits="g"),
    Quantity(
        "interpolation_train_accuracy",
        "train accuracy of ridge regression as the regulariser goes to 0, where gradient flow ends",
        "train accuracy, interpolation",
        percent=True,
    ),
    Quantity(
        "interpolation_test_accuracy",
        "test accuracy of ridge regression as the regulariser goes to 0, where gradient flow ends",
        "test accuracy, interpolation",
        percent=True,
    ),
    # What a run cost.
    Quantity("epochs", "epochs trained", "epochs", digits="g", in_summary=True),
    Quantity("seconds", "wall time, of runs trained side by side each one's share", "seconds", in_summary=True),
)

QUANTITIES: dict[str, Quantity] = {quantity.name: quantity for quantity in DECLARED}


def find_quantity(name: str, declared: Mapping[str, Quantity] | None = None) -> Quantity:
    """The quantity of that name, of ``declared`` first; one without a declaration is shown by its name."""
    if declared is not None and name in declared:
        return declared[name]
    return QUANTITIES.get(name) or Quantity(name)


def summary_names(names: Iterable[str] = ()) -> tuple[str, ...]:
    """The measured quantities that summary.json has, in order, and those of ``names`` that are not declared here."""
    return tuple(q.name for q in DECLARED if q.in_summary) + tuple(name for name in names if name not in QUANTITIES)
