#!/usr/bin/env python3
"""How exact float32 is on every classifier of torchvision: scripts/torchvision_errors.py [-o DIR] [MODEL ...].

Each model has random initial weights, random batch-norm statistics and a random theta of its weights' scale. Its output
alpha (f(w) - f(w_0)) in float32, by divided differences and by subtraction, is compared with float64: two passes and a
subtraction, or torch.func.jvp at alpha = inf. Writes DIR/errors.jsonl (models found there are not run again) and
DIR/errors.md. Each model has a process of its own; the largest needs 14 GB.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import torch
import torchvision
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

import lazytorch as lt

ALPHAS = (1.0, 1e2, 1e4, 1e7, math.inf)
SIZES = (32, 64, 75, 96, 128, 224, 299)
INITIALISED = {"googlenet": {"init_weights": True}, "inception_v3": {"init_weights": True}}


def builders() -> list[str]:
    """Every classifier that torchvision builds."""
    return torchvision.models.list_models(module=torchvision.models)


def build(name: str) -> torch.nn.Module:
    """The model in evaluation mode; batch norm's statistics are random."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, weights=None, **INITIALISED.get(name, {})).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net


@torch.no_grad()
def smallest_input(net: torch.nn.Module) -> torch.Tensor:
    """Two random images of the smallest size that the model accepts."""
    generator = torch.Generator().manual_seed(1)
    for size in SIZES:
        x = torch.randn(2, 3, size, size, generator=generator)
        try:
            net(x)
        except (RuntimeError, AssertionError):
            continue
        return x
    raise ValueError(f"{type(net).__name__} accepts none of the sizes {SIZES}")


def random_theta(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Normal, with the root mean square of each parameter (0.01 where that is 0)."""
    generator = torch.Generator().manual_seed(2)
    scales = {name: p.detach().square().mean().sqrt().item() or 0.01 for name, p in net.named_parameters()}
    return {name: scales[name] * torch.randn(p.shape, generator=generator) for name, p in net.named_parameters()}


@torch.no_grad()
def two_passes(net, theta, alpha: float, x, start: torch.Tensor, dtype) -> torch.Tensor:
    """alpha (f(w) - start) in ``dtype``; ``net`` is left at its own weights, bit for bit."""
    kept = {name: p.clone() for name, p in net.named_parameters()}
    for name, p in net.named_parameters():
        p.add_(theta[name].to(dtype), alpha=1 / alpha)
    result = alpha * (net(x.to(dtype)) - start)
    for name, p in net.named_parameters():
        p.copy_(kept[name])
    return result


def references(net, theta, x) -> dict[float, torch.Tensor]:
    """alpha -> output in float64. ``net`` comes back in float32 with its weights."""
    net.double()
    start = net(x.double()).detach()
    outputs = {a: two_passes(net, theta, a, x, start, torch.float64) for a in ALPHAS if a < math.inf}
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    tangents = {name: t.double() for name, t in theta.items()}
    with sdpa_kernel(SDPBackend.MATH):
        outputs[math.inf] = torch.func.jvp(
            lambda weights: torch.func.functional_call(net, weights, (x.double(),)), (parameters,), (tangents,)
        )[1].detach()
    net.float()
    return outputs


@torch.no_grad()
def errors(name: str) -> dict:
    """Relative errors in float32 by alpha, of divided differences and of subtraction."""
    net = build(name)
    x, theta = smallest_input(net), random_theta(net)
    expected = references(net, theta, x)
    start = net(x)
    row: dict = {"model": name, "size": x.shape[-1], "parameters": sum(p.numel() for p in net.parameters())}
    row["subtraction"] = {
        f"{a:g}": distance(two_passes(net, theta, a, x, start, torch.float32), expected[a]) for a in ALPHAS[:-1]
    }
    row["differences"] = {}
    model = lt.CenteredModel(net, 1.0)
    del net
    for key, parameter in model.theta.items():
        parameter.copy_(theta.pop(key))
    for alpha in ALPHAS:
        model.alpha = alpha
        row["differences"][f"{alpha:g}"] = distance(model(x), expected[alpha])
    return row


def distance(output: torch.Tensor, expected: torch.Tensor) -> float:
    """|output - expected| / |expected|."""
    return ((output.double() - expected).norm() / expected.norm()).item()


def table(rows: list[dict]) -> str:
    """The rows as Markdown: divided differences, and subtraction at alpha = 1e7."""
    lines = ["| model | input | parameters | " + " | ".join(f"alpha = {a:g}" for a in ALPHAS) + " | subtraction, 1e7 |"]
    lines.append("|---" * (len(ALPHAS) + 4) + "|")
    for row in sorted(rows, key=lambda row: row["model"]):
        cells = [row["model"], str(row["size"]), f"{row['parameters'] / 1e6:.1f} M"]
        cells += [f"{row['differences'][f'{a:g}']:.0e}" for a in ALPHAS] + [f"{row['subtraction']['1e+07']:.0e}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help="default: all")
    parser.add_argument("-o", "--output", type=Path, default=Path("torchvision-errors"))
    parser.add_argument("--one", action="store_true", help="print one model's row as JSON, in this process")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(errors(*options.models)))
        return
    options.output.mkdir(parents=True, exist_ok=True)
    record = options.output / "errors.jsonl"
    rows = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    done = {row["model"] for row in rows}
    for name in tqdm([name for name in options.models or builders() if name not in done]):
        command = [sys.executable, __file__, "--one", name]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            tqdm.write(f"{name} failed: {result.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            continue
        rows.append(json.loads(result.stdout))
        with record.open("a") as file:
            file.write(result.stdout)
        (options.output / "errors.md").write_text(table(rows))
    print(options.output / "errors.md")


if __name__ == "__main__":
    main()
