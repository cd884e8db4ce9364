"""The file system that a path lies on, and how far its locks reach."""

import os
import re
from pathlib import Path
from typing import NamedTuple

TABLE = Path("/proc/self/mountinfo")  # Linux alone has it
LOCAL = {"nolock", "local_lock=all", "local_lock=flock"}


class Mount(NamedTuple):
    point: Path
    kind: str  # as nfs4 or ext4
    options: frozenset[str]

    @property
    def has_local_locks(self) -> bool:
        """Whether processes on other machines, who share its files, do not see its locks."""
        return self.kind in ("nfs", "nfs4") and bool(self.options & LOCAL)


def mount_of(path: Path) -> Mount | None:
    """The mount of an absolute path without links, which is the last of the deepest; None where it cannot be told."""
    try:
        lines = os.fsdecode(TABLE.read_bytes()).splitlines()
    except OSError:
        return None
    mounts = [mount for mount in map(_mount, lines) if path.is_relative_to(mount.point)]
    return max(reversed(mounts), key=lambda mount: len(mount.point.parts), default=None)


def _mount(line: str) -> Mount:
    """Of a line: id, parent, device, root, point, options, tags, "-", kind, source, options of the file system."""
    fields, _, rest = line.partition(" - ")
    point = re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), fields.split(" ")[4])  # a space is \\040
    kind, _, options = rest.split(" ", 2)
    return Mount(Path(point), kind, frozenset(options.split(",")))
