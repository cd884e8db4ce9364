"""The page of what scripts/any_module.py has measured."""

import importlib.metadata
import math
import os

import torch

ALPHAS = (1.0, 1e2, 1e7, math.inf)
COMPONENTS = 8  # of the output, whose kernel is computed
LARGEST_ERROR, LARGEST_GRADIENT_ERROR = 1e-3, 1e-2
PACKAGES = {  # of the libraries
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "transformers",
    "peft": "peft",
    "diffusers": "diffusers",
    "vit_pytorch": "vit-pytorch",
    "x_transformers": "x-transformers",
    "torch_geometric": "torch-geometric",
    "e3nn": "e3nn",
    "neuralop": "neuraloperator",
    "segmentation_models_pytorch": "segmentation-models-pytorch",
    "monai": "monai",
}


def page(rows: list[dict], compiled: list[dict], calls: dict[tuple[str, str], str]) -> str:
    compiled_rows = {(row["library"], row["model"]): row for row in compiled}
    measured = [row for row in rows if "failure" not in row]
    failed = [row for row in rows if "failure" in row]
    libraries = [name for name in PACKAGES if any(row["library"] == name for row in rows)]
    versions = ", ".join(f"{PACKAGES[name]} {importlib.metadata.version(PACKAGES[name])}" for name in libraries)
    text = INTRODUCTION.format(
        models=len(rows),
        libraries=len(libraries),
        measured=len(measured),
        exact=sum(not is_finding(row) for row in measured),
        versions=versions,
        torch=torch.__version__.split("+")[0],
        cores=os.cpu_count(),
        components=COMPONENTS,
    )
    for library in libraries:
        text += f"\n## {library}\n\n{HEAD}"
        text += "".join(line(row, compiled_rows, calls) for row in measured if row["library"] == library)
    text += "\n## Failures\n\n"
    text += "".join(f"- {row['library']}, {row['model']}: {row['failure']}\n" for row in failed) or "None.\n"
    kernels = [row for row in measured if isinstance(row["kernel"], str) and ":" in row["kernel"]]
    if kernels:
        text += "\nOf the kernel alone:\n\n"
        text += "".join(f"- {row['library']}, {row['model']}: {row['kernel']}\n" for row in kernels)
    runs = {(row["library"], row["model"]) for row in measured}
    if eager := [row for key, row in compiled_rows.items() if "failure" in row and key in runs]:
        text += "\nOf compiling alone:\n\n"
        text += "".join(f"- {row['library']}, {row['model']}: {row['failure']}\n" for row in eager)
    return text


INTRODUCTION = """# Modules of other libraries

`scripts/any_module.py` takes {models} models of {libraries} libraries, small ones with random weights, and calls each
as its users call it. {measured} ran; of these, {exact} have all outputs within 1e-3 and the gradient within 1e-2 of
float64.

The columns 1 to inf are the relative error of the float32 output of `CenteredModel` at that alpha. The reference is
float64: two passes and a subtraction, whose own rounding at 1e7 is about 1e-9 of |f|, and `torch.func.jvp` at inf
(marked \\*: the subtraction at 1e7, where torch has no forward mode for an operator). "apart" is the distance of the
last two references. About 1e-7 of it is what a finite alpha adds; where it is large, `jvp` is not the limit of the
differences, and columns 1e7 and inf say which of the two the model follows. Where a module asks for float32 by name,
the reference has float64.

"jvp" is the error of a float32 `torch.func.jvp` of the plain network: how well the model itself is conditioned.
"gradient" is the error of the gradient in theta of <output, random cotangent> at alpha = 100, "plain gradient" that of
the plain network in float32 at the same weights. "kernel" is the error of `empirical_ntk` of {components} components of
the first output, on two examples, against explicit gradients in float64; "step" the CPU time of forward and backward at
alpha = 100 in multiples of the plain model's in eager mode (for models as small as these, mostly overhead), and
"compiled" that of the same after `CenteredModel.compile()`, with the error of its gradient ("-": it was not compiled,
or failed, as the end of the page has it).

{cores} CPU cores, torch {torch}, {versions}.
"""
COLUMNS = (
    *("model", "call", "1", "100", "1e7", "inf", "jvp", "apart", "gradient", "plain gradient", "kernel"),
    *("step", "compiled", "its gradient"),
)
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"


def line(row: dict, compiled_rows: dict, calls: dict) -> str:
    compiled = compiled_rows.get((row["library"], row["model"]), {})
    errors = [number(row["errors"][f"{alpha:g}"]) for alpha in ALPHAS]
    star = "\\*" if "no_forward_mode" in row else ""
    cells = [row["model"], f"`{calls[row['library'], row['model']]}`", *errors[:-1], errors[-1] + star]
    cells += [number(row.get(key)) for key in ("plain_derivative", "references_apart", "gradient", "plain_gradient")]
    cells += [number(row["kernel"]), ratio(row["step"])]
    cells += [ratio(compiled.get("compiled_step")), number(compiled.get("compiled_gradient"))]
    return "| " + " | ".join(cells) + " |\n"


def ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def number(value) -> str:
    if isinstance(value, str):
        return "fails" if ":" in value else "-"
    return "-" if value is None else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def is_finding(row: dict) -> bool:
    return not (max(row["errors"].values()) < LARGEST_ERROR and row["gradient"] < LARGEST_GRADIENT_ERROR)
