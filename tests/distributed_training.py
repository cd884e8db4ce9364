"""Three SGD steps of a centered model under DDP on the CPU, each of two ranks on half the batch; not a test itself.

Raises an error where the ranks together do not give what one process gives.
"""

import tempfile

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

import lazytorch as lt


def train(wrap, part) -> lt.CenteredModel:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    model = lt.CenteredModel(net, 1e7)
    wrapped = wrap(model)
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        (wrapped(x[part]) - y[part]).square().mean().backward()
        optimizer.step()
    return model


def run(rank: int, directory: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{directory}/ranks", rank=rank, world_size=2)
    model = train(lambda m: DistributedDataParallel(m, broadcast_buffers=False), slice(3 * rank, 3 * rank + 3))
    alone = train(lambda m: m, slice(None))
    assert alone.theta_norm() > 0
    torch.testing.assert_close(model.state_dict(), alone.state_dict(), rtol=1e-12, atol=1e-12)
    distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)  # before any parallel work, so that forked processes may compute
    with tempfile.TemporaryDirectory() as directory:
        torch.multiprocessing.start_processes(run, (directory,), nprocs=2, start_method="fork")
