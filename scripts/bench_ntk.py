#!/usr/bin/env python3
"""What a tangent kernel costs, as ratios measured in turn in one run: scripts/bench_ntk.py [--trace N].

The full 10-output kernel of VGG-11, and of a small vision transformer, in float32, against the method of the torch.func
tutorial (per-example Jacobians of all parameters by vmap(jacrev), contracted afterwards); with --trace the trace kernel
of N random images.
"""

import argparse
import resource
import statistics
import time

import torch
from torch.func import functional_call, jacrev, vmap
from torchvision.models import VisionTransformer

import lazytorch as lt
from lazytorch.kernels import plan_ntk
from lazytorch.kernels.tangent import prepare

#: examples, width, whether the tutorial's method fits in memory
CASES = ((12, 1.0, True), (32, 0.25, True), (32, 1.0, False), (32, None, True))


def network(width):
    """VGG-11 of this width; None: a small vision transformer, with parameters that belong to no layer."""
    if width is not None:
        return lt.models.vgg11(width)
    net = VisionTransformer(32, 4, 4, 4, 64, 128, num_classes=10).eval()
    torch.nn.init.normal_(net.heads.head.weight)  # which is zero otherwise
    return net


def tutorial(net, x):
    """Theta[i, j, k, l] from whole Jacobians."""
    parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}

    def single(parameters, example):
        return functional_call(net, parameters, (example.unsqueeze(0),)).squeeze(0)

    jacobians = vmap(jacrev(single), (None, 0))(parameters, x).values()
    return sum(torch.einsum("ikp,jlp->ijkl", j.flatten(2), j.flatten(2)) for j in jacobians)


def seconds(function, device) -> float:
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    started = time.perf_counter()
    function()
    synchronize()
    return time.perf_counter() - started


def peak(device) -> float:
    """FLOP/s of the product of two matrices of 2048 x 2048."""
    a = torch.randn(2048, 2048, device=device)
    return 2 * 2048**3 / min(seconds(lambda: a @ a, device) for _ in range(5))


def compare(examples, width, fits, rounds, device) -> None:
    torch.manual_seed(0)
    net, x = network(width).to(device), torch.randn(examples, 3, 32, 32, device=device)
    kernel = prepare(net, x)
    print(f"\n{kernel.plan}\n")
    tile = kernel.plan.tiles()[0]
    kernel.tile(tile)  # from now on the features are held
    contraction = min(seconds(lambda: kernel.tile(tile), device) for _ in range(rounds))
    forms = kernel.plan.forms
    rate = 2 * sum(tile.pairs * form.per_pair() + tile.sides * form.per_side() for form in forms) / contraction
    structured, whole = [], []
    for turn in range(rounds + 1):
        structured.append(seconds(lambda: lt.empirical_ntk(net, x), device))
        if fits and turn < 3:
            whole.append(seconds(lambda: tutorial(net, x), device))
    ours = statistics.median(structured[1:])
    whole_rate = 2 * kernel.plan.multiply_adds() / ours
    name = type(net).__name__ if width is None else f"width {width:g}"
    print(f"n = {examples}, {name}: {ours:.3f} s, {whole_rate / peak(device):.0%} of the peak of products")
    print(f"its contraction alone: {contraction:.3f} s, {rate / peak(device):.0%} of the peak")
    if fits:
        theirs = statistics.median(whole[1:])
        difference = lt.kernel_drift(tutorial(net, x), lt.empirical_ntk(net, x))
        print(
            f"torch.func tutorial: {theirs:.2f} s, {theirs / ours:.1f} times ours; relative difference {difference:.1e}"
        )


def trace(examples, device) -> None:
    torch.manual_seed(0)
    net = lt.models.vgg11(0.25).to(device)
    times = []
    for n in (examples // 2, examples):
        x = torch.randn(n, 3, 32, 32, device=device)
        print(f"\n{plan_ntk(net, x, kind='trace', max_memory='2GiB')}\n")
        times.append(seconds(lambda x=x: lt.empirical_ntk(net, x, kind="trace", max_memory="2GiB"), device))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"trace kernel, n = {n}, width 0.25: {times[-1]:.1f} s, peak of the process so far {memory:.2f} GiB")
    print(f"time({examples}) / time({examples // 2}) = {times[1] / times[0]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", type=int, metavar="N", help="measure the trace kernel of N images instead")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, {peak(device) / 1e9:.0f} GFLOP/s")
    if options.trace:
        return trace(options.trace, device)
    for examples, width, fits in CASES:
        compare(examples, width, fits, options.rounds, device)


if __name__ == "__main__":
    main()
