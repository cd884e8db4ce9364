"""Runs lazytorch in forked processes on request; not a test itself.

One process for each command would spend its time importing torch and tracing for the first time: this one has done so,
on one thread, and forks. A request is a line of JSON: {"wait": a process} is answered with its exit code, others with
the new process.
"""

import json
import os
import signal
import sys

import sklearn.datasets  # noqa: F401
import torch
import torch.utils.tensorboard
from dying import kill_inside_write

import lazytorch as lt
from lazytorch import cli
from lazytorch.cli.arguments import composed
from lazytorch.training.figures import layers_image

LIMIT = 120  # seconds


def main() -> None:
    torch.set_num_threads(1)  # before any parallel work, so that forked processes may compute
    lt.CenteredModel(lt.models.mlp(width=4, depth=1, channels=1, size=8), 1.0).trace(torch.zeros(2, 1, 8, 8))
    layers_image([{"epoch": 0}])
    composed(cli.CONF, [])
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
        elif child := os.fork():
            print(child, flush=True)
        else:
            run(**request)
            return


def run(directory, arguments, out, err, kill_at_write, environment) -> None:
    signal.alarm(LIMIT)
    os.environ |= environment
    os.chdir(directory)
    for descriptor, name in ((1, out), (2, err)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    if kill_at_write:
        kill_inside_write(*kill_at_write)
    sys.argv = ["lazytorch", *arguments]
    try:
        cli.main()
    except SystemExit as stop:
        if any("launcher" in argument for argument in arguments):
            raise  # the interpreter's own end stops the workers
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.code or 0)  # which saves a second


if __name__ == "__main__":
    main()
