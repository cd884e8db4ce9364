#!/usr/bin/env python3
"""What CenteredModel does with modules of other libraries: scripts/any_module.py [-o DIR] [-p PAGE] [LIBRARY ...].

scripts/zoo/LIBRARY.py lists the models: small ones, with random weights, called as their users call them. Each has
random batch-norm statistics and a random theta of its weights' scale. Its outputs and gradients in float32 are compared
with float64. Writes DIR/rows.jsonl and DIR/compiled.jsonl (models found there are not run again) and the page. Each
model has a process of its own, so that one that crashes ends nothing else; one that takes longer than LIMIT seconds is
given up. Compiling takes a minute a model, all else some seconds.
"""

import argparse
import copy
import importlib
import json
import math
import multiprocessing
import os
import statistics
import time
import traceback
from collections.abc import Mapping
from contextlib import nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from tqdm import tqdm
from zoo.page import ALPHAS, COMPONENTS, PACKAGES, is_finding, page

import lazytorch as lt
from lazytorch.functional import call, forward_differentiable, in_precision

LIMIT = 300  # seconds for a model, and as many for compiling it
WIDER = {torch.float32: torch.float64, torch.complex64: torch.complex128}


class InFloat64(TorchFunctionMode):
    """Modules that ask for float32 by name (in a norm, a softmax) get float64, or the reference would be in float32."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is Tensor.float:
            return args[0].double()
        args, kwargs = pytree.tree_map_only(torch.dtype, lambda t: WIDER.get(t, t), (tuple(args), kwargs or {}))
        return function(*args, **kwargs)


class Module:
    """A module with the arguments of its call, in one precision, as a function of weights."""

    def __init__(self, net: nn.Module, args: tuple, kwargs: dict, dtype: torch.dtype):
        self.net = copy.deepcopy(net)._apply(lambda t: in_precision(t, dtype))
        self.args, self.kwargs = pytree.tree_map_only(Tensor, lambda t: in_precision(t, dtype), (args, kwargs))
        if dtype == torch.float64 and hasattr(net, "set_experts_implementation"):
            self.net.set_experts_implementation("eager")  # the fast one is in float32 alone
        self.dtype = dtype
        self.weights = {name: p.detach() for name, p in self.net.named_parameters() if p.requires_grad}

    def outputs(self, weights: dict) -> list[Tensor]:
        with InFloat64() if self.dtype == torch.float64 else nullcontext(), forward_differentiable():
            return continuous(call(self.net, weights, self.args, self.kwargs))

    @torch.no_grad()
    def difference(self, theta: dict, alpha: float) -> list[Tensor]:
        """alpha (f(w) - f(w_0)), by subtraction."""
        pairs = zip(self.outputs(self.moved(theta, alpha)), self.outputs(self.weights), strict=True)
        return [alpha * (end - start) for end, start in pairs]

    def derivative(self, theta: dict) -> list[Tensor]:
        """J(w_0) theta, by forward mode."""
        tangents = {name: in_precision(t, self.dtype) for name, t in theta.items()}
        return torch.func.jvp(self.outputs, (self.weights,), (tangents,))[1]

    def gradient(self, theta: dict, alpha: float, cotangents: list[Tensor]) -> list[Tensor]:
        """Of <f, cotangents> at w, which is that of the centered output in theta."""
        weights = {name: t.requires_grad_() for name, t in self.moved(theta, alpha).items()}
        return gradient(self.outputs(weights), list(weights.values()), cotangents)

    def moved(self, theta: dict, alpha: float) -> dict[str, Tensor]:
        return {name: t + in_precision(theta[name], self.dtype) / alpha for name, t in self.weights.items()}


class Components(nn.Module):
    """Some components of the first output of a call with these names, or positions, of its arguments."""

    def __init__(self, net: nn.Module, names: list):
        super().__init__()
        self.net, self.names = net, names

    def forward(self, *tensors):
        named = list(zip(self.names, tensors, strict=True))
        args, kwargs = [t for name, t in named if name is None], {name: t for name, t in named if name}
        flat = continuous(self.net(*args, **kwargs))[0]
        if flat.dim() < 2:  # a loss, say
            return flat.reshape(1, -1)
        flat = flat.flatten(1)
        step = max(1, flat.shape[1] // COMPONENTS)
        return flat[:, step // 2 :: step][:, :COMPONENTS]


def continuous(outputs) -> list[Tensor]:
    """The floating and complex tensors among the outputs."""
    leaves = pytree.tree_leaves(dict(outputs) if isinstance(outputs, Mapping) else outputs)
    return [t for t in leaves if isinstance(t, Tensor) and (t.is_floating_point() or t.is_complex())]


def gradient(outputs: list[Tensor], weights: list[Tensor], cotangents: list[Tensor]) -> list[Tensor]:
    """Of the real part of <outputs, cotangents>."""
    pairs = zip(outputs, cotangents, strict=True)
    total = sum((out * c.to(out.dtype)).sum().real for out, c in pairs if out.requires_grad)
    found = torch.autograd.grad(total, weights, allow_unused=True)
    return [torch.zeros_like(w) if g is None else g for g, w in zip(found, weights, strict=True)]


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """|found - expected| / |expected|, over all tensors."""
    if [t.shape for t in found] != [t.shape for t in expected]:
        raise ValueError(f"outputs {[tuple(t.shape) for t in found]}, not {[tuple(t.shape) for t in expected]}")
    pairs = zip(found, expected, strict=True)
    apart = math.hypot(*((f.detach().to(e.dtype) - e.detach()).norm().item() for f, e in pairs))
    return apart / math.hypot(*(e.norm().item() for e in expected))


def build(builder) -> tuple[nn.Module, tuple, dict]:
    """The model in evaluation mode, with random statistics of batch norm, and the arguments of its call."""
    torch.manual_seed(0)
    net, args, kwargs = builder()
    net.eval()
    for module in net.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net, args, kwargs


def random_theta(net: nn.Module) -> dict[str, Tensor]:
    """Normal, with the root mean square of each parameter (0.01 where that is 0)."""
    generator = torch.Generator().manual_seed(2)
    trainable = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}
    scales = {name: p.abs().square().mean().sqrt().item() or 0.01 for name, p in trainable.items()}
    return {k: scales[k] * torch.randn(p.shape, generator=generator, dtype=p.dtype) for k, p in trainable.items()}


def measure(builder, row: dict) -> None:
    """Adds to the row what is measured, as far as it comes."""
    net, args, kwargs = build(builder)
    theta = random_theta(net)
    row["parameters"] = sum(p.numel() for p in net.parameters())
    exact, plain = (Module(net, args, kwargs, dtype) for dtype in (torch.float64, torch.float32))
    expected = {alpha: exact.difference(theta, alpha) for alpha in ALPHAS if alpha < math.inf}
    try:
        expected[math.inf] = exact.derivative(theta)
    except (RuntimeError, NotImplementedError) as error:
        row["no_forward_mode"] = first_line(error)
        expected[math.inf] = expected[1e7]
    row["references_apart"] = distance(expected[1e7], expected[math.inf])
    model = displaced(net, theta)
    row["errors"] = {}
    for alpha in ALPHAS:
        model.alpha = alpha
        with torch.no_grad():
            row["errors"][f"{alpha:g}"] = distance(continuous(model(*args, **kwargs)), expected[alpha])
    cotangents = random_cotangents(expected[1.0])
    model.alpha = 1e2
    expected_gradient = exact.gradient(theta, 1e2, cotangents)
    found = gradient(continuous(model(*args, **kwargs)), list(model.theta.values()), cotangents)
    row["gradient"] = distance(found, expected_gradient)
    row["plain_gradient"] = distance(plain.gradient(theta, 1e2, cotangents), expected_gradient)
    with suppress(RuntimeError, NotImplementedError):  # as torch has no forward mode for it
        row["plain_derivative"] = distance(plain.derivative(theta), expected[math.inf])
    row["step"] = relative_time(model, net, args, kwargs, cotangents)
    row["kernel"] = kernel_error(net, exact, args, kwargs)


def measure_compiled(builder, row: dict) -> None:
    """Adds to the row what compiling makes of a step at alpha = 100."""
    net, args, kwargs = build(builder)
    theta, exact = random_theta(net), Module(net, args, kwargs, torch.float64)
    with torch.no_grad():
        cotangents = random_cotangents(exact.outputs(exact.weights))
    model = displaced(net, theta)
    model.alpha = 1e2
    model.compile()
    found = gradient(continuous(model(*args, **kwargs)), list(model.theta.values()), cotangents)
    row["compiled_gradient"] = distance(found, exact.gradient(theta, 1e2, cotangents))
    row["compiled_step"] = relative_time(model, net, args, kwargs, cotangents)


def random_cotangents(outputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.randn(t.shape, generator=generator) for t in outputs]


def displaced(net: nn.Module, theta: dict) -> lt.CenteredModel:
    model = lt.CenteredModel(net, 1.0)
    with torch.no_grad():
        for name, parameter in model.theta.items():
            parameter.copy_(theta[name])
    return model


def relative_time(model: nn.Module, plain: nn.Module, args: tuple, kwargs: dict, cotangents: list[Tensor]) -> float:
    """CPU time of a training step over the plain model's, taken in turn: medians of 5, after one more."""
    times: dict[nn.Module, list[float]] = {model: [], plain: []}
    for _ in range(6):
        for module, measured in times.items():
            start = time.process_time()
            weights = [p for p in module.parameters() if p.requires_grad]
            gradient(continuous(module(*args, **kwargs)), weights, cotangents)
            measured.append(time.process_time() - start)
    return statistics.median(times[model][1:]) / statistics.median(times[plain][1:])


def kernel_error(net: nn.Module, exact: Module, args: tuple, kwargs: dict) -> float | str:
    """Of empirical_ntk in float32 on two examples, where the call has two and the first output is theirs."""
    names = [None] * len(args) + list(kwargs)
    inputs, precise = (*args, *kwargs.values()), (*exact.args, *exact.kwargs.values())
    if not all(isinstance(t, Tensor) and t.dim() and len(t) == 2 for t in inputs):
        return "not two examples"
    with InFloat64(), forward_differentiable():
        outputs = Components(exact.net, names)(*precise)
    if len(outputs) != 2:
        return "not two examples"
    weights = [p for p in exact.net.parameters() if p.requires_grad]
    if any(p.is_complex() for p in weights):
        return "complex"
    rows = [
        torch.autograd.grad(component, weights, retain_graph=True, allow_unused=True) for component in outputs.flatten()
    ]
    rows = [
        torch.cat(
            [torch.zeros_like(w).flatten() if g is None else g.flatten() for g, w in zip(r, weights, strict=True)]
        )
        for r in rows
    ]
    jacobian = torch.stack(rows)
    expected = (jacobian @ jacobian.T).reshape(2, -1, 2, jacobian.shape[0] // 2).transpose(1, 2)
    try:
        return distance([lt.empirical_ntk(Components(net, names), inputs)], [expected])
    except Exception as error:
        return f"{type(error).__name__}: {first_line(error)}"


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def run(measurement, library: str, name: str, builder, record: Path) -> None:
    """In a process of its own: adds the model's row to the record."""
    row: dict = {"library": library, "model": name}
    started = time.perf_counter()
    try:
        with open(os.devnull, "w") as null, redirect_stdout(null), redirect_stderr(null):
            measurement(builder, row)
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        row["failure"] = f"{type(error).__name__}: {first_line(error)}"
        row["place"] = f"{Path(place.filename).name}:{place.lineno}"
    row["seconds"] = time.perf_counter() - started
    with record.open("a") as file:
        file.write(json.dumps(row) + "\n")


def load() -> None:
    """What torch loads at its first trace and derivative, once for all processes."""
    net = nn.Linear(1, 1)
    with torch.no_grad():
        lt.CenteredModel(net, 1.0)(torch.ones(1, 1))
        torch.func.jvp(net, (torch.ones(1, 1),), (torch.ones(1, 1),))


def read(record: Path) -> list[dict]:
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def run_library(library: str, measurement, record: Path) -> None:
    """One forked process after another, as importing a library takes longer than most of its models."""
    models = importlib.import_module(f"zoo.{library}").MODELS
    done = {row["model"] for row in read(record) if row["library"] == library}
    context = multiprocessing.get_context("fork")
    for name in tqdm([name for name in models if name not in done], desc=library):
        process = context.Process(target=run, args=(measurement, library, name, models[name][1], record))
        process.start()
        process.join(LIMIT)
        if process.exitcode != 0:
            end = f"ended by signal {-process.exitcode}" if process.exitcode else f"longer than {LIMIT} s"
            process.kill()
            process.join()
            with record.open("a") as file:
                file.write(json.dumps({"library": library, "model": name, "failure": end}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY", help="default: all")
    parser.add_argument("-o", "--output", type=Path, default=Path("any-module"))
    parser.add_argument("-p", "--page", type=Path, default=Path("docs/any-module.md"))
    options = parser.parse_args()
    torch.set_num_threads(1)  # a forked process has no threads of its parent's
    load()
    options.output.mkdir(parents=True, exist_ok=True)
    calls = {}
    for library in options.libraries or PACKAGES:
        try:
            models = importlib.import_module(f"zoo.{library}").MODELS
        except ImportError as error:
            tqdm.write(f"{library} is skipped: {first_line(error)}")
            continue
        calls |= {(library, name): shown for name, (shown, _) in models.items()}
    records = {measure: options.output / "rows.jsonl", measure_compiled: options.output / "compiled.jsonl"}
    for measurement, record in records.items():
        for library in dict.fromkeys(library for library, _ in calls):
            run_library(library, measurement, record)
        rows, compiled = ([row for row in read(r) if (row["library"], row["model"]) in calls] for r in records.values())
        options.page.write_text(page(rows, compiled, calls))
    for row in rows:
        if "failure" in row or is_finding(row):
            print(row)
    print(options.page)


if __name__ == "__main__":
    main()
