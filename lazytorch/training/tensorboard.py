"""TensorBoard's view of a run: scalars, the layers as a picture, one row of the HParams page, Custom Scalars."""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..quantities import Quantity, find_quantity
from ..runs.labels import spell

#: The charts of the Custom Scalars page, by category: title to the tag it shows.
LAYOUT = {
    "accuracy": {"test accuracy": "accuracy/test", "train accuracy": "accuracy/train"},
    "laziness": {
        "stability of activations": "laziness/activation_stability",
        "log10 displacement": "laziness_log10/displacement",
        "log10 kernel drift": "laziness_log10/ntk_drift",
        "log10 linearization error": "laziness_log10/linearization_error",
    },
    "optimisation": {
        "log10 training loss": "loss_log10/train",
        "learning rate": "optimisation/learning_rate",
        "|theta|": "optimisation/theta_norm",
    },
}
RECORDS = {"layout", "changed", "versions", "continued_with", "fingerprints", "about"}  # of config.yaml, no settings
NO_RESULT = {"_target_", "name", "runs_dir", "device", "resume", "scale", "plan", "sweep"}
FIRST = ("alpha", "alpha_log10", "seed")


def _opened(directory: Path, first_epoch: int):
    """A writer whose file is read last: in the order of names, which tell the second and then count without zeros."""
    from torch.utils.tensorboard import SummaryWriter

    before = set(directory.glob("events.out.tfevents.*"))
    writer = SummaryWriter(str(directory), purge_step=first_epoch)
    (own,) = set(directory.glob("events.out.tfevents.*")) - before
    if before and own < max(before):
        writer.close()
        own.unlink()
        time.sleep(1)
        writer = SummaryWriter(str(directory), purge_step=first_epoch)
    return writer


class TensorBoard:
    """The event files in ``directory``, written while open.

    Quantities that span decades have their log10 beside them, as infinity makes the page's own logarithmic scale
    unusable. ``declared`` are quantities beside those of lazytorch; ``first_epoch``: what a killed run logged from this
    epoch on is dropped.
    """

    def __init__(self, directory: Path, declared: dict[str, Quantity], first_epoch: int):
        self.declared = declared
        self.writer = _opened(directory, first_epoch)

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *_) -> None:
        self.writer.close()

    def log(self, row: dict) -> None:
        """The numbers of a row of metrics, at its epoch."""
        for name, value in row.items():
            if isinstance(value, dict):
                for layer, item in value.items():
                    self._scalar(name, item, row["epoch"], f"/{layer or 'network'}")
            elif name not in ("epoch", "epochs", "alpha", "seconds"):
                self._scalar(name, value, row["epoch"])
        self.writer.flush()

    def _scalar(self, name: str, value: float | None, epoch: int, layer: str = "") -> None:
        if value is None or not math.isfinite(value):
            return
        tag, quantity = self._tag(name), find_quantity(name, self.declared)
        self.writer.add_scalar(tag + layer, value, epoch)
        if quantity.log and value > quantity.floor and not layer:
            group, _, leaf = tag.rpartition("/")
            self.writer.add_scalar(f"{group}_log10/{leaf}", math.log10(value), epoch)

    def _tag(self, name: str) -> str:
        return find_quantity(name, self.declared).tag or f"probes/{name}"

    def arrange(self) -> None:
        """Lay out the Custom Scalars page; TensorBoard shows what is the same in all runs once."""
        self.writer.add_custom_scalars(arranged(LAYOUT))

    def describe(self, config: dict) -> None:
        """Write the settings of ``config``, as config.yaml has them, for the HParams page.

        They go into the run itself, where ``SummaryWriter.add_hparams`` would make another run. That would declare
        columns too, and TensorBoard then takes those of any one run for all; undeclared, they are those of all runs,
        and what differs among them comes first.
        """
        self._add_summary(hyperparameters(config), 1)

    def close(self, rows: list[dict]) -> None:
        """Draw the layers, and tell the HParams page that the run has ended."""
        if rows and any(isinstance(value, dict) for value in rows[-1].values()):
            from .figures import layers_image

            self.writer.add_image("per_layer", layers_image(rows), rows[-1]["epoch"], dataformats="HWC")
        self._add_summary({}, 2)

    def _add_summary(self, shown: dict, which: int) -> None:
        from torch.utils.tensorboard.summary import hparams

        self.writer._get_file_writer().add_summary(hparams(shown, {})[which])  # of columns, settings and end


def arranged(layout: Mapping[str, Mapping[str, str]]) -> dict:
    """Category to title to tag, as ``SummaryWriter.add_custom_scalars`` takes it."""
    return {
        category: {title: ["Multiline", [f"{tag}$"]] for title, tag in charts.items()}
        for category, charts in layout.items()
    }


def hyperparameters(config: Mapping) -> dict[str, str | float]:
    """The columns of the HParams page: alpha and seed, and all other settings behind them, by dotted name.

    The page sorts columns by name and shows the first five. It leaves an infinite number blank: alpha is spelt, and
    alpha_log10, without infinity, is what runs are sorted by, as what has none comes last.
    """
    own = {key: value for key, value in config.items() if key not in RECORDS | NO_RESULT}
    shown = dict(_plain(own, ""))
    if isinstance(alpha := shown.get("alpha"), int | float):
        shown["alpha"] = spell(float(alpha))
        if 0 < alpha < math.inf:
            shown["alpha_log10"] = math.log10(alpha)
    return {name if name in FIRST else f"settings.{name}": value for name, value in shown.items()}


def _plain(config: Mapping, prefix: str) -> Iterator[tuple[str, str | float]]:
    """Numbers and words by dotted name; the page would show true as 1."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _plain(value, f"{prefix}{key}.")
        elif isinstance(value, bool):
            yield f"{prefix}{key}", str(value).lower()
        elif isinstance(value, str | int | float):
            yield f"{prefix}{key}", value
