"""Where the measurements of a run go: its metrics.jsonl and summary.json, and TensorBoard."""

import math

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from ..runs import RunDirectory
from .figures import layers_image

#: Measurement -> TensorBoard tag; runs of a sweep overlay on these.
TAGS = {
    "train_accuracy": "accuracy/train",
    "test_accuracy": "accuracy/test",
    "train_accuracy_running": "accuracy/train_running",
    "train_loss": "loss/train",
    "test_loss": "loss/test",
    "displacement": "laziness/displacement",
    "ntk_drift": "laziness/ntk_drift",
    "kernel_distance": "laziness/kernel_distance",
    "activation_stability": "laziness/activation_stability",
    "linearization_error": "laziness/linearization_error",
    "theta_norm": "optimisation/theta_norm",
    "learning_rate": "optimisation/learning_rate",
}
BY_LAYER = {"displacement_by_module": "displacement_by_module", "activation_stability_by_layer": "stability_by_layer"}
RESULTS = ("train_accuracy", "test_accuracy", "test_loss", "displacement", "ntk_drift", "activation_stability")


class TensorBoard:
    """The scalars of one run, and its hyperparameters as one row of the HParams page.

    A session directory named after alpha and seed makes the legend readable. ``first_epoch``: what a killed run logged
    from this epoch on is dropped.
    """

    def __init__(self, run: RunDirectory, settings: dict, first_epoch: int):
        self.run, self.settings = (
            run,
            settings | {"alpha": f"{settings['alpha']:g}"},
        )  # the page leaves a float inf blank
        session = f"alpha={self.settings['alpha']} seed={settings['seed']}"
        self.writer = SummaryWriter(str(run.tensorboard / session), purge_step=first_epoch)

    def log(self, row: dict) -> None:
        epoch = row["epoch"]
        for name, tag in TAGS.items():
            if row.get(name) is not None and math.isfinite(row[name]):
                self.writer.add_scalar(tag, row[name], epoch)
        for name, group in BY_LAYER.items():
            for layer, value in (row.get(name) or {}).items():
                if value is not None:
                    self.writer.add_scalar(f"{group}/{layer or 'network'}", value, epoch)
        self.writer.flush()

    def close(self, row: dict) -> None:
        """Draw the layers, and write the settings beside the results in ``row``.

        They go into the run itself, where ``SummaryWriter.add_hparams`` would make another run.
        """
        rows = self.run.metrics
        if rows:
            self.writer.add_image("layers", layers_image(rows), rows[-1]["epoch"], dataformats="HWC")
        results = {TAGS[name]: row[name] for name in RESULTS if row.get(name) is not None}
        for summary in hparams(self.settings, results):
            self.writer.file_writer.add_summary(summary)
        self.writer.close()
