"""The lock of a file, which one process holds at a time and which dies with its holder, on every system."""

import errno
import io
import sys

TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
OFFSET = 2**30  # Windows forbids reading what is locked: lock a byte far behind the words


def claim(file: io.FileIO) -> bool:
    """Take the lock of ``file``, open for writing; whether it was free.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(OFFSET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in TAKEN:
            return False
        raise
    return True


def let_go(file: io.FileIO) -> None:
    """Let others take the lock; closing alone would leave it held by a forked process."""
    if sys.platform == "win32":
        import msvcrt

        file.seek(OFFSET)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_UN)
