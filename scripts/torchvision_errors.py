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
import statistics
import subprocess
import sys
from pathlib import Path

import torch
import torchvision
from tqdm import tqdm

import lazytorch as lt
from lazytorch.functional import forward_differentiable

ALPHAS = (1.0, 1e2, 1e4, 1e7, math.inf)
DRAWS = 3
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
def draw_inputs(net: torch.nn.Module) -> list[torch.Tensor]:
    """DRAWS times two random images, of the smallest size that the model accepts."""
    generator = torch.Generator().manual_seed(1)
    for size in SIZES:
        try:
            net(torch.zeros(2, 3, size, size))
        except (RuntimeError, AssertionError):
            continue
        return [torch.randn(2, 3, size, size, generator=generator) for _ in range(DRAWS)]
    raise ValueError(f"{type(net).__name__} accepts none of the sizes {SIZES}")


def random_theta(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Normal, with the root mean square of each parameter (0.01 where that is 0)."""
    generator = torch.Generator().manual_seed(2)
    scales = {name: p.detach().square().mean().sqrt().item() or 0.01 for name, p in net.named_parameters()}
    return {name: scales[name] * torch.randn(p.shape, generator=generator) for name, p in net.named_parameters()}


@torch.no_grad()
def two_passes(net, theta, alpha: float, inputs: list, dtype) -> list[torch.Tensor]:
    """alpha (f(w) - f(w_0)) in ``dtype``, by subtraction; ``net`` is left at w_0, bit for bit."""
    starts = [net(x.to(dtype)) for x in inputs]
    kept = {name: p.clone() for name, p in net.named_parameters()}
    for name, p in net.named_parameters():
        p.add_(theta[name].to(dtype), alpha=1 / alpha)
    results = [alpha * (net(x.to(dtype)) - start) for x, start in zip(inputs, starts, strict=True)]
    for name, p in net.named_parameters():
        p.copy_(kept[name])
    return results


@torch.no_grad()
def references(net, theta, inputs: list) -> dict[float, list[torch.Tensor]]:
    """alpha -> outputs in float64. ``net`` comes back in float32 with its weights."""
    net.double()
    outputs = {a: two_passes(net, theta, a, inputs, torch.float64) for a in ALPHAS if a < math.inf}
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    tangents = {name: t.double() for name, t in theta.items()}
    with forward_differentiable():
        outputs[math.inf] = [
            torch.func.jvp(
                lambda weights, x=x: torch.func.functional_call(net, weights, (x.double(),)), (parameters,), (tangents,)
            )[1]
            for x in inputs
        ]
    net.float()
    return outputs


@torch.no_grad()
def errors(name: str) -> dict:
    """Relative errors in float32 by alpha, one for each draw, of divided differences and of subtraction."""
    net = build(name)
    inputs, theta = draw_inputs(net), random_theta(net)
    expected = references(net, theta, inputs)
    row: dict = {"model": name, "size": inputs[0].shape[-1], "parameters": sum(p.numel() for p in net.parameters())}
    row["subtraction"] = {
        f"{a:g}": list(map(distance, two_passes(net, theta, a, inputs, torch.float32), expected[a]))
        for a in ALPHAS
        if a < math.inf
    }
    row["differences"] = {}
    model = lt.CenteredModel(net, 1.0)
    del net
    for key, parameter in model.theta.items():
        parameter.copy_(theta.pop(key))
    for alpha in ALPHAS:
        model.alpha = alpha
        row["differences"][f"{alpha:g}"] = list(map(distance, map(model, inputs), expected[alpha]))
    return row


def distance(output: torch.Tensor, expected: torch.Tensor) -> float:
    """|output - expected| / |expected|."""
    return ((output.double() - expected).norm() / expected.norm()).item()


def summary(values: list[float]) -> str:
    """The median, and the worst where it is far from it."""
    median, worst = statistics.median(values), max(values)
    return f"{median:.0e}" + (f" ({worst:.0e})" if worst > 3 * median else "")


def table(rows: list[dict]) -> str:
    """The rows as Markdown: medians over the draws, and the worst in brackets, of both ways."""
    titles = ["model", "input", "parameters", *(f"{a:g}" for a in ALPHAS), "subtraction, 1", "subtraction, 1e7"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in sorted(rows, key=lambda row: row["model"]):
        cells = [row["model"], str(row["size"]), f"{row['parameters'] / 1e6:.1f} M"]
        cells += [summary(row["differences"][f"{a:g}"]) for a in ALPHAS]
        cells += [summary(row["subtraction"][a]) for a in ("1", "1e+07")]
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
