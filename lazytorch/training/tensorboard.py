"""TensorBoard's view of a run: scalars, the layers as a picture, and one row of the HParams page."""

import math
from pathlib import Path

from ..quantities import Quantity, find_quantity


class TensorBoard:
    """The event files in ``directory``, written while open.

    Quantities that span decades have their log10 beside them, as infinity makes the page's own logarithmic scale
    unusable. ``declared`` are quantities beside those of lazytorch; ``first_epoch``: what a killed run logged from this
    epoch on is dropped.
    """

    def __init__(self, directory: Path, declared: dict[str, Quantity], first_epoch: int):
        from torch.utils.tensorboard import SummaryWriter

        self.declared = declared
        self.writer = SummaryWriter(str(directory), purge_step=first_epoch)

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

    def close(self, settings: dict, summary: dict, rows: list[dict]) -> None:
        """Draw the layers, and write the settings beside the results.

        They go into the run itself, where ``SummaryWriter.add_hparams`` would make another run.
        """
        from torch.utils.tensorboard.summary import hparams

        if rows and any(isinstance(value, dict) for value in rows[-1].values()):
            from .figures import layers_image

            self.writer.add_image("layers", layers_image(rows), rows[-1]["epoch"], dataformats="HWC")
        shown = {name: value for name, value in settings.items() if isinstance(value, (str, int, float))}
        if "alpha" in settings:
            shown["alpha"] = f"{float(settings['alpha']):g}"  # the page leaves a float inf blank
        numbers = {name: value for name, value in summary.items() if isinstance(value, (int, float))}
        results = {self._tag(n): v for n, v in numbers.items() if n not in ("alpha", "epochs", "seconds")}
        for event in hparams(shown, results):
            self.writer._get_file_writer().add_summary(event)
