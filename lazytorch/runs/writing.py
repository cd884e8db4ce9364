"""A file is written whole or not at all, and a disk that refuses says so in one line."""

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

REMEDIES = {
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG): "free some and start again; the run goes on where it was",
    (errno.EACCES, errno.EPERM, errno.EROFS): "allow it there and start again, or use another runs_dir",
    (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP): "use a runs_dir on a file system that can do it",
}
OTHER_REMEDY = "remove what is in its way and start again, or use another runs_dir"


def write_atomically(path: str | os.PathLike, write: Callable[[BinaryIO], object]) -> None:
    """Call `write` on a temporary file beside `path`, bring it to the disk and rename it to `path`.

    Whoever opens `path`, at any moment and after any crash, finds the former content or the new one. If `write` raises,
    the former content stays and the temporary file is removed. Folders that are missing are made.

    Raises:
        OSError: the disk is full or may not be written; one line with `path` and the remedy. Whatever `write` raises.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write_whole(temporary, write)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append_line(path: Path, line: bytes) -> None:
    """Append `line` to the file and bring it to the disk, whole or not at all.

    What a kill left after the last newline is cut off first. Folders that are missing are made.

    Raises:
        OSError: as `write_atomically`; the lines before stay.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b", buffering=0) as file:
            whole = _whole_length(file)
            file.truncate(whole)
            try:
                left = memoryview(line)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(whole)
                raise


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed processes left in `folder`, to which nobody may be writing."""
    for temporary in folder.glob(".*.tmp"):
        with naming(temporary, "removing"):
            temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path, doing: str = "writing") -> Iterator[None]:
    """Turn the system's errors inside into one line that names `path` and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        remedy = next((words for codes, words in REMEDIES.items() if error.errno in codes), OTHER_REMEDY)
        reason = os.strerror(error.errno)
        kind = PermissionError if isinstance(error, PermissionError) else OSError
        named = kind(f"{reason[:1].lower()}{reason[1:]} while {doing} {path}: {remedy}")
        named.errno = error.errno
        raise named from None


class _File(io.FileIO):
    """Remembers why the disk refused: torch.save raises an error of its own that does not say."""

    refused: OSError | None = None

    def write(self, data) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            self.refused = error
            raise


def _write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    raw = _File(path, "w")
    try:
        with io.BufferedWriter(raw) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except Exception:
        if raw.refused is not None:
            raise raw.refused from None
        raise


def _whole_length(file: io.FileIO) -> int:
    """The length of the file up to and including its last newline."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 4096)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _sync_folder(folder: Path) -> None:
    # The rename itself lives in the folder: without this a power cut may undo it. Windows opens no folder.
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
