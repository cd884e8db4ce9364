"""What two processes under torch.distributed get of tangent kernels; not a test itself, see test_sharing.py.

Called as ``sharing.py OUT``, by torchrun or alone, when it forks the two. Writes OUT/<rank>.pt.
"""

import logging
import multiprocessing
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import lazytorch as lt
from lazytorch.kernels import plan_ntk
from lazytorch.kernels.tiles import Kernel

MEMORY = 40_000


class Scaled(nn.Module):
    """A network times a factor that is in no parameter."""

    def __init__(self, net, factor):
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, x):
        return self.factor * self.net(x)


def problem():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 20), nn.Tanh(), nn.Linear(20, 3)), torch.randn(41, 5)


def error_of(*args, **kwargs):
    """The type and the message of what the call raises."""
    try:
        lt.empirical_ntk(*args, **kwargs)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def counting(counted):
    """Have every tile that is computed appended to ``counted``."""
    tile = Kernel.tile
    Kernel.tile = lambda self, which: counted.append(which) or tile(self, which)


def shared(rank, folder):
    """One kernel of both, in memory and in a file that is damaged meanwhile."""
    net, x = problem()
    group, counted, found = dist.group.WORLD, [], {}
    arguments = {"net": net, "x1": x, "max_memory": MEMORY, "group": group}
    counting(counted)
    found["memory"] = lt.empirical_ntk(**arguments)
    found["tiles"] = len(counted) - 1  # one was to compare the processes
    found["planned"] = len(plan_ntk(**arguments).tiles())
    file = folder / "shared.npy"
    found["file"] = lt.empirical_ntk(**arguments, file=file).clone()
    dist.barrier()
    if rank == 0:
        values = torch.from_file(str(file), shared=True, size=file.stat().st_size // 4)
        values[-3:] = 0
        del values
    dist.barrier()
    found["damaged"] = lt.empirical_ntk(**arguments, file=file).clone()
    found["other"] = error_of(**arguments | {"x1": x + 1}, file=file)
    pair = dist.new_group([0, 1])
    found["pair"] = lt.empirical_ntk(**arguments | {"group": pair, "x2": x[:7]})
    first = dist.new_group([0])
    alone = arguments | {"group": first, "x2": x[:7]}
    found["outside"] = "" if rank == 0 else error_of(**alone)
    found["first"] = lt.empirical_ntk(**alone) if rank == 0 else torch.zeros(0)
    return found


def alone(rank, folder):
    """Kernels of each process's own."""
    net, x = problem()
    if rank == 1:
        nn.init.ones_(net[0].weight)
    found = {"own": lt.empirical_ntk(net, x, max_memory=MEMORY), "planned": len(plan_ntk(net, x).tiles())}
    if rank == 0:
        found["on the first only"] = lt.empirical_ntk(net, x, max_memory=MEMORY, file=folder / "first.npy").clone()
    dist.barrier()
    same, x = problem()
    found["same file"] = lt.empirical_ntk(same, x, max_memory=MEMORY, file=folder / "both.npy").clone()
    dist.barrier()
    found["clash"] = error_of(net, x, max_memory=MEMORY, file=folder / "clash.npy")
    return found


def refused(rank, folder):
    """What is raised for processes that do not call alike."""
    net, x = problem()
    other = nn.Sequential(net[0], nn.ReLU(), net[2])
    cases = {
        "weights": {"weights": {"0.bias": torch.full((20,), float(rank))}},
        "net": {"net": (net, other)[rank]},
        "forward": {"net": Scaled(net, 1.0 + rank)},
        "x1": {"x1": x + rank},
        "x2": {"x2": (None, x)[rank]},
        "kind": {"kind": ("trace", "diagonal")[rank]},
        "max_memory": {"max_memory": ("1GiB", "2GiB")[rank]},
        "file": {"file": (None, folder / "never.npy")[rank]},
        "unsuitable": {"kind": ("full", "half")[rank]},
        "random": {"net": (net, nn.Sequential(net, nn.Dropout()))[rank]},
    }
    return {name: error_of(**{"net": net, "x1": x, "group": dist.group.WORLD} | case) for name, case in cases.items()}


def failing(rank):
    """What is raised where one process fails in the middle."""
    net, x = problem()
    tile = Kernel.tile

    def tile_or_fail(self, which):
        if which.rows.start and rank == 1:
            raise MemoryError("no more")
        return tile(self, which)

    Kernel.tile = tile_or_fail
    return error_of(net, x, max_memory=MEMORY, group=dist.group.WORLD)


def work(folder, **rendezvous):
    logging.disable()
    dist.init_process_group("gloo", **rendezvous)
    rank = dist.get_rank()
    found = {"alone": alone(rank, folder), "refused": refused(rank, folder), "shared": shared(rank, folder)}
    found["failing"] = failing(rank)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def main() -> None:
    folder = Path(sys.argv[1])
    if "RANK" in os.environ:
        work(folder)
        return
    context, store = multiprocessing.get_context("fork"), f"file://{folder}/store"  # what is imported once is enough
    rendezvous = [{"init_method": store, "rank": rank, "world_size": 2} for rank in range(2)]
    processes = [context.Process(target=work, args=(folder,), kwargs=each, daemon=True) for each in rendezvous]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    sys.exit(any(process.exitcode != 0 for process in processes))


if __name__ == "__main__":
    main()
