"""The report of training runs, unless their experiment declares another."""

from .paper import FIGURE_3A, FIGURE_3B, FIGURE_3B_BARS
from .primitives import Chosen, Figure, HeatMap, Panel, Report, Table

ACCURACY = Figure(
    "accuracy",
    Panel("summary", x="alpha", y=("train_accuracy", "test_accuracy")),
    Panel("summary", x="alpha", y="activation_stability"),
    caption="Final accuracy on the whole train and test sets, in evaluation mode and without augmentation, and the "
    "share of ReLU units active for the same test inputs as at initialisation.",
)

TRAINING = Report(
    Table("summary"),
    ACCURACY,
    Figure(
        "drift",
        Panel("summary", x="alpha", y="displacement", guides=(-1,)),
        Panel("summary", x="alpha", y=("ntk_drift", "kernel_distance")),
        caption="Relative displacement of the weights and change of the tangent kernel on the probe inputs.",
    ),
    Figure(
        "linearization",
        Panel("summary", x="alpha", y="linearization_error", guides=(-1,)),
        caption="Departure of the model from its linearization at the start, on the probe inputs.",
    ),
    Figure(
        "curves",
        Panel("metrics", x="epoch", y="train_accuracy", by="alpha"),
        Panel("metrics", x="epoch", y="test_accuracy", by="alpha"),
        Panel("metrics", x="epoch", y="train_loss", by="alpha"),
        caption="Training; runs that did not finish are dotted.",
    ),
    Figure(
        "grid",
        HeatMap("summary", x="alpha", y="lr", value="validation_accuracy"),
        HeatMap("summary", x="alpha", y="lr", value="test_accuracy"),
        caption="Final accuracy over the scale and the learning rate; what diverged is hatched.",
    ),
    Chosen("lr", "validation_accuracy", Table("summary"), ACCURACY),
    FIGURE_3A,
    FIGURE_3B_BARS,
    FIGURE_3B,
)
