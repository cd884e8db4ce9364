"""The run directory: config.yaml, metrics, summary, report, tables, checkpoints/ and tensorboard/ of one run."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .checks import REPORT, SUMMARY
from .lock import hold
from .reading import read_bytes
from .records import append_row, read_object, read_rows, write_object, write_rows
from .tables import Value, read_table, write_table
from .writing import naming, remove_leftovers, write_atomically
from .yaml_records import LAYOUT, LIMIT, dump_config, read_config

WITH_ANOTHER = {
    "train": "on other training data",
    "test": "with other test data",
    "validation": "with other validation data",
}
TABLE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=,-]*")


class RunDirectory:
    """The records of one run, read and written at `path`; making the object touches no file.

    A process that trains holds `lock()` from before its first write to after its last. Every record is checked when it
    is read: a damaged one is a ValueError of one line that names the file, the reason and the remedy. A disk that is
    full or may not be written is an OSError of one line, and leaves the former file whole.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._text: str | None = None

    def __repr__(self) -> str:
        return f"RunDirectory({str(self.path)!r})"

    def create(self, config: dict, versions: dict, fingerprints: dict, about: dict) -> None:
        """Write config.yaml: the layout, the resolved `config`, and `versions`, `fingerprints` and `about` beside it.

        A directory that already holds the run is kept, so that the run can go on; parts whose fingerprints it records
        and that are not given stay recorded, and so do the versions that it began with; others that it goes on with are
        listed as `continued_with`.

        Raises:
            ValueError: the directory holds a run of other data, network or loss (`check_fingerprints`), or a damaged
                config.yaml.
        """
        beside = {"versions": versions, "fingerprints": fingerprints, "about": about}
        if os.path.exists(self._config):
            self.check_fingerprints(fingerprints)
            there = self.config
            beside["fingerprints"] = (there.get("fingerprints") or {}) | fingerprints
            beside |= _continued(there, versions)
        elif self._has_records():
            raise ValueError(
                f"{self.path} has records of a run, but no config.yaml that says of which: restore it, or use "
                "resume=false to start over"
            )
        self._text = dump_config({"layout": LAYOUT} | config | beside)
        self._write_config()

    def _has_records(self) -> bool:
        return any(map(os.path.exists, (self._summary, self._metrics, self._checkpoints))) or bool(self.tables)

    def check_fingerprints(self, fingerprints: dict) -> None:
        """Refuse to go on with, or to call finished, a run whose data, network or loss were others.

        Raises:
            ValueError: a part is recorded here and given with another fingerprint.
        """
        recorded = (self.config.get("fingerprints") or {}) if os.path.exists(self._config) else {}
        others = [
            f"{WITH_ANOTHER.get(part, f'with another {part}')} ({recorded[part]}, not {given})"
            for part, given in fingerprints.items()
            if recorded.get(part, given) != given
        ]
        if others:
            raise ValueError(
                f"{self.path} was trained {' and '.join(others)}; "
                "give this run another name=..., or resume=false to start over"
            )

    @property
    def exists(self) -> bool:
        """Whether a run of this layout has been created here."""
        try:
            text = read_bytes(self._config, LIMIT) or b""
        except ValueError:
            return False
        return re.search(rb"^layout: %d\s*$" % LAYOUT, text, re.MULTILINE) is not None

    @property
    def config(self) -> dict:
        """The resolved configuration, with `layout`, `versions`, `fingerprints` and `about`.

        Raises:
            FileNotFoundError: there is no config.yaml.
            ValueError: it is damaged, or of the layout of lazytorch 0.1.
        """
        return read_config(self._config)

    @property
    def summary(self) -> dict | None:
        """The result, or None while there is none; an infinite alpha is the string "inf"."""
        return read_object(self._summary, SUMMARY, needed=("status",))

    def write_summary(self, summary: dict) -> None:
        """Replace summary.json, whole or not at all; it has a status: finished, diverged, interrupted or failed."""
        self._restore_config()
        write_object(self._summary, summary, SUMMARY, needed=("status",))

    @property
    def report(self) -> dict | None:
        """What the experiment's report shows, as plain data, or None while there is none."""
        return read_object(self._report, REPORT)

    def write_report(self, report: dict) -> None:
        """Replace report.json, whole or not at all."""
        write_object(self._report, report, REPORT)

    @property
    def metrics(self) -> list[dict]:
        """One row an evaluation; a last line that a kill left torn is ignored."""
        return read_rows(self._metrics)

    def append(self, row: dict) -> None:
        """Append `row`, which has an epoch, to the metrics as one line of strict JSON and bring it to the disk."""
        self._restore_config()
        append_row(self._metrics, row)

    def rewrite_metrics(self, rows: list[dict]) -> None:
        """Replace all rows of the metrics, whole or not at all."""
        write_rows(self._metrics, rows)

    @property
    def tables(self) -> list[str]:
        """The names of the tables, without .csv, sorted."""
        return sorted(path.stem for path in self.path.glob("[!.]*.csv"))

    def table(self, name: str) -> list[dict[str, Value]]:
        """The rows of <name>.csv, [] if there is none; numbers are parsed, an empty cell is None."""
        return read_table(self._table(name))

    def write_table(self, name: str, rows: list[dict]) -> None:
        """Replace <name>.csv, whole or not at all; the columns are those of all rows."""
        write_table(self._table(name), rows)

    def checkpoint(self, name: str = "last") -> Path:
        """checkpoints/<name>.pt, whether or not it exists; `write_atomically` makes its folder."""
        return self._checkpoints / f"{name}.pt"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    def clear(self) -> None:
        """Remove all that a former run wrote here, so that `create` starts over; the lock stays."""
        self._text = None
        # The summary goes first: a clearing that is killed must not leave a result that looks finished.
        first = (self._summary, self._report)
        last = (self._checkpoints, self.tensorboard, self._metrics, self._config)
        for path in (*first, *self.path.glob("*.csv"), *last):
            with naming(path, "removing"):
                _remove(path)

    @contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Hold the directory for this process alone; a process that dies lets go of it, and a forked one has no part.

        Raises:
            Locked: another process holds it and `wait` is false; the line says which and since when.
        """
        with naming(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with hold(self.path / ".lock", wait):
            for folder in (self.path, self._checkpoints):
                remove_leftovers(folder)
            yield

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
    def _report(self) -> Path:
        return self.path / "report.json"

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def _table(self, name: str) -> Path:
        if not TABLE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a table; use letters, digits and . _ + = , -")
        return self.path / f"{name}.csv"

    def _write_config(self) -> None:
        text = (self._text or "").encode()
        write_atomically(self._config, lambda file: file.write(text))

    def _restore_config(self) -> None:
        """A result without its configuration is worth nothing: what was removed during the run is written again."""
        if self._text is not None and not self._config.exists():
            self._write_config()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _continued(there: dict, versions: dict) -> dict:
    """The versions of the run in config ``there``, which goes on with ``versions``."""
    began, later = there.get("versions") or versions, list(there.get("continued_with") or [])
    if versions != (later or [began])[-1]:
        later.append(versions)
    return {"versions": began} | ({"continued_with": later} if later else {})
