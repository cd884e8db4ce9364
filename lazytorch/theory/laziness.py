"""How lazy a training was, of any network before and after it."""

import copy
import math
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from ..activations import activation_stability
from ..anchored import Anchored, euclidean_norm
from ..centered import CenteredModel
from ..differences.pair import is_continuous
from ..functional import in_precision, real_parts
from ..kernels import empirical_ntk, kernel_distance, kernel_drift
from ..linearized import linearize
from ..verdict import verdict


def laziness(net_0: nn.Module, net: nn.Module, x: Tensor | tuple[Tensor, ...]) -> dict[str, Any]:
    """How far the training that led from ``net_0``, at w_0, to ``net``, at w, was from that of the linearized model.

    Measured in float64 and evaluation mode, on copies: the modules with their buffers and modes, and torch's
    generators, are left as they are. Returns a dict of

    displacement
        |w - w_0| / |w_0| over the trainable parameters.
    ntk_drift, kernel_distance
        |K(w) - K(w_0)| / |K(w_0)|, and 1 - the cosine of K(w) and K(w_0), for the full tangent kernels on x.
    activation_stability, activation_stability_by_layer
        The share of ReLU units as active at w as at w_0, see :func:`activation_stability`.
    linearization_error
        |f(w) - f(w_0) - J(w_0) (w - w_0)| / |f(w) - f(w_0)| on x. Here w includes the floating buffers, as what batch
        norm has accumulated is a function of the weights.
    verdict
        "lazy", "not lazy" or "between", with the numbers that say so; thresholds in :mod:`lazytorch.verdict`.
    not_measured
        Name -> why the value of that name is None.

    The scale: in the linearized regime the drift, the distance and the error tend to 0 and the stability to 1 (Chizat,
    Oyallon & Bach 2019, section 3.2, find 100 %). A unit whose sign is drawn anew keeps it with probability 1/2, so a
    stability of 1/2 is none. The distance does not see a kernel that grows without turning; in ordinary training it
    turns most in the first epochs (Fort et al. 2020, section 3). The displacement has no scale of its own: wide
    networks move little whatever they learn. A VGG-11 of width 1/4 that this project trained for 20 epochs on 20,000
    images of CIFAR-10 had a drift of 14, a stability of 0.55 and an error of 2.1 as usual (alpha = 1), and 0.45, 0.90
    and 0.84 at alpha = 10. Neither is lazy.

    Args:
        net_0: the network before training, ``copy.deepcopy(net)`` taken then.
        net: the network after it.
        x: (n, ...) inputs, or a tuple of such tensors, the networks' arguments; floating ones are taken to float64.

    Cost: nearly all is two full :func:`empirical_ntk` of x, each n (K + 1) passes and (n K)^2 numbers, in float64;
    beside them about 10 forward passes of x. A few dozen inputs tell most.

    Raises:
        TypeError: a network that is no plain module, or inputs that are no tensors.
        ValueError: networks of different structures, with the first parameter, buffer or module that differs, or of
            which nothing is trainable; weights, buffers or inputs that are not finite.
        Exception: whatever the networks raise on x.
    """
    _check_alike(net_0, net)
    inputs = tuple(_as_double(t) for t in (x if isinstance(x, tuple) else (x,)))
    _check_finite(net_0, net, inputs)
    devices = {t.device for t in (*net_0.parameters(), *net.parameters(), *inputs) if t.is_cuda}
    with torch.random.fork_rng(list(devices)):
        start, end = _copies(net_0, net)
        for net in (start, end):
            with torch.no_grad():
                _outputs(net, inputs)  # raises what the network raises
        measured, missing = {}, {}
        for measure, names in MEASURES.items():
            try:
                measured |= measure(start, end, inputs)
            except torch.OutOfMemoryError:
                raise
            except (ValueError, RuntimeError) as error:
                measured |= dict.fromkeys(names)
                missing |= dict.fromkeys(names, str(error))
    return measured | {"verdict": verdict(measured), "not_measured": missing}


def _as_double(x: Tensor) -> Tensor:
    if not isinstance(x, Tensor):
        raise TypeError(f"x is a {type(x).__name__}: give a tensor, or a tuple of them, as torch.from_numpy(x)")
    return in_precision(x, torch.float64)


def _check_finite(net_0: nn.Module, net: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    for when, each in (("before", net_0), ("after", net)):
        for name, tensor in _values(each).items():
            if not tensor.isfinite().all():
                raise ValueError(
                    f"{name} of the network {when} training is not finite: there is no laziness to measure"
                )
    if not all(t.isfinite().all() for t in inputs):
        raise ValueError("x is not finite: give inputs without nan and inf")


def _displacement(start, end, inputs) -> dict:
    trainable = {name: p for name, p in start.named_parameters() if p.requires_grad}
    norm = euclidean_norm(list(trainable.values()))
    if norm == 0:
        raise ValueError("|w_0| = 0")
    moved = dict(end.named_parameters())
    return {"displacement": euclidean_norm([moved[name] - p for name, p in trainable.items()]) / norm}


def _kernels(start, end, inputs) -> dict:
    kernels = [empirical_ntk(net, inputs) for net in (start, end)]
    return {"ntk_drift": kernel_drift(*kernels), "kernel_distance": kernel_distance(*kernels)}


def _activations(start, end, inputs) -> dict:
    stability = activation_stability(start, _values(start), _values(end), inputs)
    if not stability["layers"]:
        raise ValueError("the network calls no ReLU")
    return {
        "activation_stability": stability["overall"],
        "activation_stability_by_layer": stability["layers"],
    }


@torch.no_grad()
def _linearization_error(start, end, inputs) -> dict:
    change = _outputs(end, inputs) - _outputs(start, inputs)
    if not change.any():
        raise ValueError("f(w) = f(w_0) on x")
    linear = _outputs(_tangent(start, end), inputs)
    return {"linearization_error": ((change - linear).norm() / change.norm()).item()}


def _tangent(start, end) -> Anchored:
    """The module x -> J(x; w_0) (w - w_0)."""
    w, net = _values(end), copy.deepcopy(start).requires_grad_()
    moved = {name: w[name] - t for name, t in _values(start).items() if is_continuous(t)}
    # torch does not differentiate by batch norm's statistics. Pairs do, but need a trace.
    traced = any(moved[name].any() for name, _ in net.named_buffers() if name in moved)
    model = CenteredModel(net, math.inf) if traced else linearize(net)
    place = {name: "theta" if name in model.theta else "buffer_differences" for name in moved}
    model.load_state_dict({f"{place[name]}.{name}": change for name, change in moved.items()}, strict=False)
    return model


MEASURES = {
    _displacement: ("displacement",),
    _kernels: ("ntk_drift", "kernel_distance"),
    _activations: ("activation_stability", "activation_stability_by_layer"),
    _linearization_error: ("linearization_error",),
}


def _copies(net_0: nn.Module, net: nn.Module) -> list[nn.Module]:
    """Both in float64 and evaluation mode, trainable where one of them is."""
    trainable = {name for each in (net_0, net) for name, p in each.named_parameters() if p.requires_grad}
    copies = [copy.deepcopy(each)._apply(lambda t: in_precision(t, torch.float64)).eval() for each in (net_0, net)]
    for each in copies:
        for name, parameter in each.named_parameters():
            parameter.requires_grad_(name in trainable)
    return copies


def _values(net: nn.Module) -> dict[str, Tensor]:
    return {name: t.detach() for name, t in (*net.named_parameters(), *net.named_buffers())}


def _outputs(net: nn.Module, inputs: tuple) -> Tensor:
    """All floating outputs in one vector; random operators draw the same at every call."""
    with torch.random.fork_rng(list({t.device for t in inputs if t.is_cuda})):
        outputs = pytree.tree_leaves(net(*inputs))
    found = [t for t in outputs if isinstance(t, Tensor) and is_continuous(t)]
    return torch.cat([real_parts(t).flatten() for t in found])


def _check_alike(net_0: nn.Module, net: nn.Module) -> None:
    for name, each in (("net_0", net_0), ("net", net)):
        if isinstance(each, Anchored):
            raise TypeError(f"{name} is a {type(each).__name__}: give {name}.to_module(torch.float64)")
        if not isinstance(each, nn.Module):
            raise TypeError(f"{name} must be a torch.nn.Module, got {type(each).__name__}")
    for kind in (_shapes, _module_types):
        left, right = kind(net_0), kind(net)
        for name in (*left, *right):
            if left.get(name) != right.get(name):
                raise ValueError(
                    f"net_0 and net differ in {name!r}, {left.get(name, 'missing')} and {right.get(name, 'missing')}: "
                    "give one network before and after training"
                )
    if not any(p.requires_grad for each in (net_0, net) for p in each.parameters()):
        raise ValueError("nothing in net_0 or net is trainable: call requires_grad_() on what was trained")


def _shapes(net: nn.Module) -> dict:
    return {name: tuple(tensor.shape) for name, tensor in (*net.named_parameters(), *net.named_buffers())}


def _module_types(net: nn.Module) -> dict:
    return {path: type(part).__name__ for path, part in net.named_modules()}
