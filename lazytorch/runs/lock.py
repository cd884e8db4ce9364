"""A lock that one process holds at a time, that says who holds it, and that dies with its holder."""

import io
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .file_lock import claim, let_go
from .mounts import LOCAL, mount_of
from .reading import read_bytes
from .writing import naming

POLL = 0.5
LIMIT = 4096

logger = logging.getLogger("lazytorch.runs")


class Locked(RuntimeError):
    """Another process holds the run directory."""


_held: set[io.FileIO] = set()


def _let_go_in_child() -> None:
    # A forked data worker shares the lock and would keep it when its parent is killed. Closing does not unlock it.
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_in_child)


@contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`, whose folder exists, for this process alone; with `wait`, ask again till it is free.

    Raises:
        Locked: another process holds it and `wait` is false, or one of another machine may, which cannot be told.
        OSError: the file system has no locks, or the file may not be written.
    """
    waiting = False
    while (file := _acquire(path)) is None:
        if not wait:
            raise Locked(
                f"{path.parent} is being trained by {_holder(path)}; "
                "wait for it to end, or give this run another name=..."
            )
        if not waiting:
            logger.warning("waiting for %s, which trains %s", _holder(path), path.parent)
        waiting = True
        time.sleep(POLL)
    try:
        yield
    finally:
        _release(file)


def _acquire(path: Path) -> io.FileIO | None:
    with naming(path, "locking"):
        file = io.FileIO(path, "r+", opener=lambda name, flags: os.open(name, flags | os.O_CREAT, 0o666))
        _held.add(file)
        is_ours = False
        try:
            is_ours = claim(file)
            if is_ours:
                _check_reach(path)
                _sign(file)
        except BaseException:
            is_ours = False
            raise
        finally:
            if not is_ours:
                _held.discard(file)
                file.close()
    return file if is_ours else None


def _check_reach(path: Path) -> None:
    """Raise Locked where a lock that seems free tells nothing: another machine has signed, which does not see locks."""
    mount = mount_of(path.resolve())
    if mount is None or not mount.has_local_locks:
        return
    said = f"locks on {mount.point} do not reach other machines (options {', '.join(sorted(mount.options & LOCAL))})"
    signature = _signature(path)
    if signature and signature.get("host") != socket.gethostname():
        raise Locked(
            f"{path.parent} was last trained by {_holder(path)}, which may go on, as {said}: mount it with locks, or "
            f"remove {path} if that process has ended"
        )
    logger.warning("%s: let no two machines train one run", said)


def _release(file: io.FileIO) -> None:
    if not file.closed:  # it is in a forked child, where it is not ours
        with suppress(OSError):
            file.truncate(0)  # nobody has it
        let_go(file)
        file.close()
        _held.discard(file)


def _sign(file: io.FileIO) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    file.truncate(0)
    file.seek(0)
    file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}).encode())


def _holder(path: Path) -> str:
    try:
        return "process {pid:d} on {host!s:.80} since {since!s:.80}".format(**_signature(path))
    except (ValueError, TypeError, KeyError):
        return "another process"


def _signature(path: Path) -> dict:
    """What its last holder has written, unless it has let go; empty if it is not that."""
    try:
        signature = json.loads(read_bytes(path, LIMIT) or b"")
    except (ValueError, RecursionError):
        return {}
    return signature if isinstance(signature, dict) else {}
