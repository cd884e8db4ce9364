"""Trains the same small run in forked processes on request; not a test itself.

A request is [run directories, epochs, write]: one after the other is trained, as in a script's loop over alphas. A
positive ``write`` makes the process kill itself inside that checkpoint write, after the temporary file is complete and
before it takes its name. A process exits with 0 if all was trained, and with 100 + the signal where that stopped it.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.utils.tensorboard
from torch import nn

import lazytorch as lt
import lazytorch.training.figures  # before forking, as tensorboard

sys.path.insert(0, str(Path(__file__).parents[1]))
from dying import kill_inside_write


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


def train(directories: list[str], epochs: int, kill_at_write: int) -> int:
    if kill_at_write:
        kill_inside_write(".pt", kill_at_write)
    try:
        for number, directory in enumerate(directories):
            train_one(100.0**number, directory, epochs)
    except KeyboardInterrupt as stopped:
        return 100 + stopped.args[0]
    return 0


def train_one(alpha: float, directory: str, epochs: int) -> None:
    images = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    data, test = (images, torch.arange(200) % 10), (images[:60], torch.arange(60) % 10)
    model = lt.CenteredModel(network(), alpha)
    trainer = lt.Trainer(model, data, test, lr=0.05, batch_size=9, run_dir=directory, probe_size=2)
    trainer.resume()
    trainer.fit(epochs)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(128, 10),
    )


if __name__ == "__main__":
    main()
