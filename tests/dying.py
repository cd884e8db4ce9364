"""A process that kills itself inside a write; not a test itself, imported by scripts that fork."""

import os
import signal

from lazytorch.runs import writing


def kill_inside_write(suffix: str, count: int) -> None:
    """Die in the ``count``-th write of such a file, when the temporary file is complete and has no name yet."""
    replace, left = os.replace, [count]

    def dying(source, target):
        if str(target).endswith(suffix):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    writing.os.replace = dying
