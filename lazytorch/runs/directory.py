"""The run directory: config.yaml, metrics.jsonl, summary.json, checkpoints/ and tensorboard/ of one run."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from lazytorch.runs.records import append_row, read_rows, to_json
from lazytorch.runs.writing import remove_leftovers, write_atomically


class RunDirectory:
    """The records of one run, read and written at `path`; making the object touches no file.

    A process that trains holds `lock()` from before its first write to after its last.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    def create(self, config: dict, versions: dict, fingerprint: dict) -> None:
        """Write config.yaml: the resolved `config`, beside it `versions` and the data's fingerprint.

        A directory that already holds the run is kept, so that the run can go on.

        Raises:
            ValueError: the directory holds a run on data with another fingerprint.
        """
        record = config | {"versions": versions, "data_fingerprint": fingerprint}
        text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True, width=120)
        if self._config.exists():
            self._refuse_other_data(yaml.safe_load(text)["data_fingerprint"])
        write_atomically(self._config, lambda file: file.write(text.encode()))

    @property
    def exists(self) -> bool:
        """Whether a run has been created here."""
        return self._config.exists()

    @property
    def config(self) -> dict:
        """The resolved configuration, with `versions` and `data_fingerprint`."""
        if not self._config.exists():
            raise FileNotFoundError(f"{self.path} holds no config.yaml; give a run directory, as lazytorch prints it")
        try:
            return yaml.safe_load(self._config.read_text(encoding="utf-8"))
        except yaml.YAMLError:
            raise ValueError(f"{self._config} is not YAML any more; restore it, or remove {self.path}") from None

    @property
    def summary(self) -> dict | None:
        """The result, or None while there is none; an infinite alpha is the string "inf"."""
        return json.loads(self._summary.read_bytes()) if self._summary.exists() else None

    @property
    def metrics(self) -> list[dict]:
        """One row an evaluation; a last line that a kill left torn is ignored."""
        return read_rows(self._metrics)

    def append(self, row: dict) -> None:
        """Append `row` to the metrics as one line of strict JSON and bring it to the disk."""
        self.path.mkdir(parents=True, exist_ok=True)
        append_row(self._metrics, row)

    def truncate(self, epoch: int) -> None:
        """Drop the rows of metrics after `epoch`, the one that a resumed run starts from."""
        if self._metrics.exists():
            kept = "".join(to_json(row) + "\n" for row in self.metrics if row["epoch"] <= epoch)
            write_atomically(self._metrics, lambda file: file.write(kept.encode()))

    def write_summary(self, summary: dict) -> None:
        """Replace summary.json, whole or not at all."""
        text = to_json(summary, indent=2) + "\n"
        write_atomically(self._summary, lambda file: file.write(text.encode()))

    def checkpoint(self, name: str = "last") -> Path:
        """checkpoints/<name>.pt, whether or not it exists; `write_atomically` makes its folder."""
        return self._checkpoints / f"{name}.pt"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    def clear(self) -> None:
        """Remove all that a former run wrote here, so that `create` starts over."""
        # The summary goes first: a clearing that is killed must not leave a result that looks finished.
        self._summary.unlink(missing_ok=True)
        for folder in (self._checkpoints, self.tensorboard):
            if folder.exists():
                shutil.rmtree(folder)
        self._metrics.unlink(missing_ok=True)
        self._config.unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory for this process alone; a process that dies lets go of it.

        Raises:
            RuntimeError: another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RuntimeError(f"{self.path} is being trained by another process; wait for it to end") from None
            try:
                for folder in (self.path, self._checkpoints):
                    remove_leftovers(folder)
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # closing alone would leave it held by a forked data worker

    @property
    def _config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def _summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def _refuse_other_data(self, fingerprint: dict) -> None:
        recorded = self.config.get("data_fingerprint")
        if recorded != fingerprint:
            raise ValueError(
                f"{self.path} was trained on data {recorded}, not {fingerprint}; "
                "use another runs_dir, or resume=false to start over"
            )


def find(paths: Iterable[str | os.PathLike]) -> list[RunDirectory]:
    """Every run directory at or below `paths`, each once, in the order of their paths.

    Raises:
        FileNotFoundError: one of `paths` does not exist.
    """
    found = {folder.resolve(): folder for path in paths for folder in _run_folders(Path(path))}
    return [RunDirectory(folder) for folder in sorted(found.values())]


def _run_folders(root: Path) -> Iterator[Path]:
    if not root.exists():
        raise FileNotFoundError(f"{root} does not exist; give run directories, or folders that hold them")
    for folder, below, files in os.walk(root):
        below[:] = [name for name in below if not name.startswith(".")]  # hydra keeps a config.yaml in .hydra
        if "config.yaml" in files and b"\ndata_fingerprint:" in Path(folder, "config.yaml").read_bytes():
            below.clear()
            yield Path(folder)
