"""Runs the processes of a torchrun in forked processes on request; not a test itself.

A request is a line of JSON: {"task": a function below, "count": how many processes, "directory": ..., its arguments};
each process leaves what the function returns, or its error, in <directory>/<rank>.json. The answer is their exit codes.
"""

import json
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path

import torch
import torch.utils.tensorboard
from torch import nn

import lazytorch as lt
import lazytorch.training.figures
from lazytorch.data import DeviceData

LIMIT = 300  # seconds


def main() -> None:
    torch.set_num_threads(1)  # before any parallel work, so that forked processes may compute
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        count, port = request.pop("count"), free_port()
        children = [start(request, rank, count, port) for rank in range(count)]
        codes = {child: os.waitstatus_to_exitcode(status) for child, status in (os.wait() for _ in children)}
        print(json.dumps([codes[child] for child in children]), flush=True)


def start(request: dict, rank: int, count: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    signal.alarm(LIMIT)
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{count}"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
    directory, code = Path(request["directory"]), 0
    try:
        found = globals()[request.pop("task")](rank, **request)
    except KeyboardInterrupt as stopped:
        found, code = {"stopped": stopped.args[0]}, 3
    except Exception as error:
        found, code = {"error": f"{type(error).__name__}: {error}"}, 1
    (directory / f"{rank}.json").write_text(json.dumps(found))
    os._exit(code)


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def network(kind: str) -> nn.Module:
    if kind == "mlp":
        return lt.models.mlp(width=16, channels=1, size=32)
    if kind == "small":
        layers = (nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))
        return nn.Sequential(*layers)
    if kind == "dropout":
        return nn.Sequential(nn.Flatten(), nn.Linear(1024, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10))
    if kind == "batch_norm":
        return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(1024), nn.Linear(1024, 10))
    if kind == "centred by batch":
        return CentredByBatch()
    return getattr(lt.models, kind)(width=0.05, channels=1)


class CentredByBatch(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1024, 10)

    def forward(self, x):
        y = self.layer(x.flatten(1))
        return y - y.mean(0)


def images(count: int, precision: str, seed: int = 0) -> DeviceData:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 1, 32, 32), generator=generator, dtype=torch.uint8)
    options = {"augment": "crop_flip", "mean": [0.5], "std": [0.3], "dtype": getattr(torch, precision)}
    return DeviceData(pixels, torch.arange(count) % 10, **options)


def train(
    rank: int,
    directory: str,
    kind: str = "small",
    alphas: tuple = (100.0,),
    epochs: int = 2,
    precision: str = "float64",
    examples: int = 103,
    lr: float = 0.05,
    apart: tuple = (),
    stop: int | None = None,
    fail: int | None = None,
    probes: tuple | None = None,
    write: bool = False,
) -> dict:
    """Summaries and rows by alpha; ``apart`` is what each process has of its own: weights, train, alpha."""
    torch.manual_seed(rank if "weights" in apart else 0)
    net = network(kind).to(getattr(torch, precision))
    data, test = images(examples, precision, rank if "train" in apart else 0), images(61, precision, 7)
    if "alpha" in apart:
        alphas = [10.0 ** (rank + 1)]
    trainers = []
    for alpha in map(float, alphas):
        own = {"run_dir": f"{directory}/{alpha:g}"} if write else {}
        options = {"lr": lr, "batch_size": 50, "precision": precision, "probe_size": 3, "probes": probes}
        trainer = lt.Trainer(lt.CenteredModel(net, alpha), data, test, **options, **own)
        if write:
            trainer.resume()
        trainers.append(trainer)
    if rank in (stop, fail):
        interrupt(trainers[0], stop is not None)
    summaries = lt.fit_together(trainers, epochs)
    return {"summaries": summaries, "rows": [trainer.member.state.rows for trainer in trainers], "rank": rank}


def interrupt(trainer, with_signal: bool) -> None:
    """In the second epoch this process alone gets SIGTERM, or an error."""
    step, taken = trainer.member.state.optimizer.step, []

    def stepping(*args, **kwargs):
        taken.append(1)
        if len(taken) == 5:
            if not with_signal:
                raise OSError("this process has an error")
            os.kill(os.getpid(), signal.SIGTERM)
        return step(*args, **kwargs)

    trainer.member.state.optimizer.step = stepping


if __name__ == "__main__":
    main()
