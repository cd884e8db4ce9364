#!/usr/bin/env python3
"""What a training step costs for networks of every family: scripts/bench_families.py [--only vit,swin] [--device D].

Steps of SGD in train mode, measured in turn in one run: the plain network's, the centered model's at alpha = 100, and
that of torch.func.jvp; medians, as multiples of the plain step. Operators are those that compute (views do not) in
forward, loss and backward: what a GPU launches.
"""

import argparse
import importlib.util
import statistics
import time
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

import lazytorch as lt
from lazytorch.differences import pointwise, reading

VISION = torchvision.models


def mlp():
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


def vit():
    sizes = {"num_layers": 6, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}
    return VISION.VisionTransformer(image_size=32, patch_size=4, num_classes=10, **sizes)


class Gpt2(nn.Module):
    """The language model of transformers, of 48 tokens a text and a vocabulary of 1,000."""

    def __init__(self):
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        sizes = {"n_layer": 6, "n_head": 6, "n_embd": 192, "vocab_size": 1000, "n_positions": 48}
        self.net = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))

    def forward(self, x):
        return self.net(input_ids=x, use_cache=False).logits


#: name -> (the network, its input)
FAMILIES = {
    "MLP 784-256-256": (mlp, partial(torch.randn, 32, 784)),
    "VGG-11, width 1/8": (lambda: lt.models.vgg11(0.125), partial(torch.randn, 8, 3, 32, 32)),
    "ResNet-18, batch norm": (lambda: VISION.resnet18(num_classes=10), partial(torch.randn, 64, 3, 32, 32)),
    "ConvNeXt-tiny": (lambda: VISION.convnext_tiny(num_classes=10), partial(torch.randn, 8, 3, 64, 64)),
    "ViT 6 x 192": (vit, partial(torch.randn, 32, 3, 32, 32)),
    "Swin-T": (lambda: VISION.swin_t(num_classes=10), partial(torch.randn, 8, 3, 64, 64)),
    "EfficientNet-B0": (lambda: VISION.efficientnet_b0(num_classes=10), partial(torch.randn, 16, 3, 64, 64)),
    "GPT-2 6 x 192": (Gpt2, partial(torch.randint, 1000, (8, 48))),
}
STEPS = {"plain": lambda net: net, "alpha = 100": lambda net: lt.CenteredModel(net, 100.0), "jvp": lt.linearize}


class Count(TorchDispatchMode):
    """Counts the operators that are not views."""

    operators = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.operators += not function.is_view
        return function(*args, **(kwargs or {}))


class Candidate:
    def __init__(self, build, wrap, example, device):
        torch.manual_seed(0)
        self.device = torch.device(device)
        self.model = wrap(build().to(self.device))
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-5)
        self.x = example(device=self.device)
        with torch.no_grad():
            self.target = torch.randn_like(self.model(self.x))
        self.times: list[float] = []

    def gradient(self) -> None:
        F.mse_loss(self.model(self.x), self.target).backward()

    def step(self) -> None:
        self._synchronize()
        started = time.perf_counter()
        self.optimizer.zero_grad()
        self.gradient()
        self.optimizer.step()
        self._synchronize()
        self.times.append(time.perf_counter() - started)

    def operators(self) -> int:
        """On a GPU's terms: a CPU computes large tensors in pieces, and reads which of two formulas is needed."""
        self.optimizer.zero_grad()  # or gradients would be added to former ones
        whole = patch.object(pointwise, "PIECE", 2**62)
        unread = patch.object(reading, "answers_at_once", lambda device: False)
        with whole, unread, Count() as counted:
            self.gradient()
        return counted.operators

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def measure(family: str, options) -> None:
    build, example = FAMILIES[family]
    candidates = {name: Candidate(build, wrap, example, options.device) for name, wrap in STEPS.items()}
    for _ in tqdm(range(options.steps + 1), desc=family, leave=False):
        for candidate in candidates.values():
            candidate.step()
    seconds = {name: statistics.median(candidate.times[1:]) for name, candidate in candidates.items()}
    plain = seconds.pop("plain")
    ratios = "".join(f"{seconds[name] / plain:13.2f}" for name in seconds)
    counts = [candidates[name].operators() for name in ("plain", "alpha = 100")]
    print(
        f"{family:24s}{1e3 * plain:10.1f}{ratios}{counts[0]:10d}{counts[1]:13d}{counts[1] / counts[0]:8.1f}", flush=True
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="a part of the names of families, or several with commas")
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each, after one that is not")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    parts = options.only.lower().split(",")
    print(f"{options.device}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(
        f"{'':24s}{'plain, ms':>10s}{'alpha = 100':>13s}{'jvp':>13s}{'operators':>10s}{'alpha = 100':>13s}{'ratio':>8s}"
    )
    for family, (build, _) in FAMILIES.items():
        if build is Gpt2 and importlib.util.find_spec("transformers") is None:
            print(f"{family:24s}left out: transformers is not installed")
        elif any(part in family.lower() for part in parts):
            measure(family, options)


if __name__ == "__main__":
    main()
