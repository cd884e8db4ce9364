"""Trains the same small run in forked processes on request; not a test itself.

A request is [run directory, epochs, write]: a positive ``write`` makes the process kill itself inside that checkpoint
write, after the temporary file is complete and before it takes its name.
"""

import json
import os
import signal
import sys

import torch
from torch import nn

import lazytorch as lt
from lazytorch.runs import RunDirectory, writing


def main() -> None:
    torch.set_num_threads(1)  # before any parallel work, so that forked processes may compute
    print("ready", flush=True)
    child = 0
    for request in sys.stdin:
        if request == "wait\n":
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        child = os.fork()
        if child == 0:
            os._exit(train(*json.loads(request)))
        print(child, flush=True)


def train(directory: str, epochs: int, kill_at_write: int) -> int:
    if kill_at_write:
        kill_inside_write(kill_at_write)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )
    images, labels = torch.randn(400, 1, 8, 8), torch.arange(400) % 10
    run = RunDirectory(directory)
    trainer = lt.Trainer(
        lt.CenteredModel(net, 100.0),
        (images, labels),
        (images[:60], labels[:60]),
        lr=0.05,
        batch_size=9,
        run_dir=run,
        probe_size=2,
    )
    with run.lock():
        trainer.resume()
        status = trainer.fit(epochs)["status"]
    return 0 if status == "finished" else 3


def kill_inside_write(count: int) -> None:
    replace, left = os.replace, [count]

    def dying(source, target):
        if str(target).endswith(".pt"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    writing.os.replace = dying


if __name__ == "__main__":
    main()
