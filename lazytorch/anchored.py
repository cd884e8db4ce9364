"""A module held at its initial weights w_0 with a trainable scaled displacement theta = alpha (w - w_0)."""

import copy
import math
import numbers
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .functional import in_precision, kept_without_graph, read, real_parts


class Anchored(nn.Module):
    """What the centered model and the linearization share: w_0, theta, and the way from both back to weights.

    ``net`` is copied, never changed. Its trainable parameters become ``theta`` (zeros, the only parameters of this
    module); its parameters and buffers at this moment are registered buffers, so that ``state_dict``, ``to`` and
    ``deepcopy`` carry them. Memory: twice the parameters, and twice the floating buffers.

    The weights that theta stands for are w = w_0 + theta / alpha. At alpha = inf they are w_0: theta is then the limit
    of alpha (w - w_0), a direction that displaces nothing; ``weights``, ``to_module`` and ``displacement`` are those of
    w_0 whatever theta is. ``buffer_differences()``: name -> alpha (b - b_0), in the shape of b, of every buffer but
    integers, as training at w has updated it.

    Args:
        net: any ``nn.Module`` with at least one trainable parameter.
        alpha: the scale, in (0, inf].

    Raises:
        TypeError: ``net`` is not a module, or already anchored, or ``alpha`` is not a number.
        ValueError: ``alpha`` is not in (0, inf], or nothing in ``net`` is trainable.
    """

    _modules: dict[str, "Tensors"]  # theta, initial and buffer_differences

    def __init__(self, net: nn.Module, alpha: float):
        super().__init__()
        _check_net(net)
        self.alpha = alpha
        named, buffers = dict(net.named_parameters()), dict(net.named_buffers())
        trainable = {name: parameter.detach() for name, parameter in named.items() if parameter.requires_grad}
        # "theta" and "initial" are set beside add_module, which refuses names that are also properties.
        self._modules["theta"] = Tensors({k: nn.Parameter(torch.zeros_like(t)) for k, t in trainable.items()})
        self._modules["initial"] = Tensors({k: t.detach().clone() for k, t in (named | buffers).items()})
        moving = {k: t for k, t in buffers.items() if t.is_floating_point() or t.is_complex()}
        self.buffer_differences = Tensors({k: torch.zeros_like(t) for k, t in moving.items()})
        self._parameter_names, self._theta_names = tuple(named), frozenset(trainable)
        # The structure alone, on the meta device; kept in a tuple so that its parameters are not this module's.
        self._structure = (with_tensors(net, lambda t: t.detach().to("meta")),)
        self.train(net.training)
        for own, original in zip(self.structure.modules(), net.modules(), strict=True):
            own.training = original.training

    @property
    def structure(self) -> nn.Module:
        """The wrapped module without its values (on the meta device)."""
        return self._structure[0]

    @property
    def theta(self) -> "Tensors":
        """Name -> scaled displacement alpha (w - w_0), keyed as the trainable ones of ``net.named_parameters()``.

        At alpha = inf it is the limit, see :class:`Anchored`. A mapping that is also the module of these parameters.
        """
        self._thetas()
        return self._modules["theta"]

    def _thetas(self) -> dict[str, Tensor]:
        """Theta as a dict."""
        theta = self._modules["theta"]()
        if theta.keys() != self._theta_names:
            raise RuntimeError(
                f"theta has been parametrized or pruned ({next(iter(theta.keys() ^ self._theta_names))}), which would "
                f"leave it where it is: parametrize the network, and wrap that"
            )
        return theta

    @property
    def alpha(self) -> float:
        """The scale, in (0, inf]; what is assigned is checked as in the constructor."""
        return self._alpha

    @alpha.setter
    def alpha(self, alpha: float) -> None:
        self._alpha = self._checked(alpha)

    def _checked(self, alpha: float) -> float:
        return check_alpha(alpha)

    @property
    def epsilon(self) -> float:
        """1 / alpha, which is 0 at alpha = inf."""
        return 1.0 / self.alpha

    def train(self, mode: bool = True):
        """Set training mode on this module and on the wrapped structure, as ``nn.Module.train`` does."""
        if hasattr(self, "_structure"):
            self.structure.train(mode)
        return super().train(mode)

    def _initial(self) -> dict[str, Tensor]:
        return self._modules["initial"]()

    def initial_weights(self) -> dict[str, Tensor]:
        """Name -> w_0, for every parameter of the wrapped module (frozen ones included)."""
        initial = self._initial()
        return {name: initial[name] for name in self._parameter_names}

    def initial_buffers(self) -> dict[str, Tensor]:
        """Name -> buffer as training at w_0 has updated it."""
        return {name: t for name, t in self._initial().items() if name not in self._parameter_names}

    @torch.no_grad()
    def weights(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Name -> w = w_0 + theta / alpha, for every parameter (frozen ones stay at w_0, and all at alpha = inf).

        In float32 the sum rounds theta away at large alpha: pass ``torch.float64`` to measure anything at w.
        """
        return self._at_w(self.initial_weights(), self.theta(), dtype)

    @torch.no_grad()
    def buffers_at_w(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Name -> buffer as training at w has updated it (only floating ones are converted to ``dtype``)."""
        return self._at_w(self.initial_buffers(), self.buffer_differences(), dtype)

    def _at_w(self, initial: dict, differences: dict, dtype) -> dict[str, Tensor]:
        result = {}
        for name, start in initial.items():
            start = (in_precision(start, dtype) if dtype else start).clone()
            if name in differences:
                start = start + self.epsilon * differences[name].detach().to(start.dtype)
            result[name] = start
        return result

    def to_module(self, dtype: torch.dtype | None = None) -> nn.Module:
        """A plain copy of the wrapped module at w, in the mode it is in here; ``dtype`` as for ``weights``.

        At alpha = inf that is the module at w_0.
        """
        values = self.weights(dtype) | self.buffers_at_w(dtype)
        structure = self.structure
        names = {id(t): name for name, t in (*structure.named_parameters(), *structure.named_buffers())}
        return with_tensors(structure, lambda t: values[names[id(t)]])

    def displacement(self) -> float | Any:
        """|w - w_0| / |w_0| over the trainable parameters, computed as epsilon |theta| / |w_0| in float64.

        0 at alpha = inf; None where |w_0| = 0.
        """
        return self._displacements({"": list(self.theta)})[""]

    def displacement_by_module(self) -> dict[str, float | None]:
        """Module path -> |w - w_0| / |w_0| of its own parameters (weight and bias together); None where |w_0| = 0."""
        groups: dict[str, list[str]] = {}
        for name in self.theta:
            groups.setdefault(name.rpartition(".")[0], []).append(name)
        return self._displacements(groups)

    def _displacements(self, groups: Mapping[str, list[str]]) -> dict[str, float | None]:
        theta, initial = self.theta(), self._initial()
        squares = squared_norms([*theta.values(), *(initial[name] for name in theta)])
        moved, start = dict(zip(theta, squares, strict=False)), dict(zip(theta, squares[len(theta) :], strict=True))

        def ratio(names: list[str]) -> float | None:
            norm, of_start = (math.sqrt(sum(of[name] for name in names)) for of in (moved, start))
            return self.epsilon * norm / of_start if of_start > 0 else None

        return {path: ratio(names) for path, names in groups.items()}

    def theta_norm(self) -> float:
        """|theta|, in float64."""
        return euclidean_norm(list(self.theta.values()))

    def extra_repr(self) -> str:
        return f"{type(self.structure).__name__}, alpha={self.alpha:g}"


class Tensors(nn.Module):
    """Parameters and buffers under the dotted names they have in another module: a module, and a mapping of them.

    A call returns the mapping as a dict. A part that is called keys, values, items or get is no attribute of its own.
    """

    _modules: dict[str, "Tensors"]
    _parameters: dict[str, Tensor]
    _buffers: dict[str, Tensor]

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        for name, tensor in tensors.items():
            *path, leaf = name.split(".")
            place = self
            for part in path:
                if part not in place._modules:
                    place._modules[part] = Tensors({})
                place = place._modules[part]
            if isinstance(tensor, nn.Parameter):
                place._parameters[leaf] = tensor
            else:
                place._buffers[leaf] = tensor

    def __call__(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        _collect(self, "", found)
        return found

    def __getitem__(self, name: str) -> Tensor:
        *path, leaf = name.split(".")
        place = self
        for part in path:
            place = place._modules[part]
        return (place._parameters if leaf in place._parameters else place._buffers)[leaf]

    def __iter__(self) -> Iterator[str]:
        return iter(self())

    def __len__(self) -> int:
        return len(self())

    def __or__(self, other: Mapping) -> dict[str, Tensor]:
        return self() | dict(other)

    def __ror__(self, other: Mapping) -> dict[str, Tensor]:
        return dict(other) | self()

    get, __contains__ = Mapping.get, Mapping.__contains__

    def keys(self):
        return self().keys()

    def values(self):
        return self().values()

    def items(self):
        return self().items()


def _collect(module: Tensors, prefix: str, found: dict[str, Tensor]) -> None:
    """As ``named_parameters`` and ``named_buffers`` do, several times as fast: it is done at every call of a model."""
    for own in (module._parameters, module._buffers):
        for name, tensor in own.items():
            if tensor is not None:
                found[prefix + name] = tensor
    for name, part in module._modules.items():
        _collect(part, f"{prefix}{name}.", found)


# Beside its methods it would pass on equality by value, which a module has not.
Mapping.register(Tensors)  # pyright: ignore[reportAttributeAccessIssue]


def euclidean_norm(tensors: list[Tensor]) -> float:
    """The norm of all entries together, accumulated in float64."""
    return math.sqrt(sum(squared_norms(tensors)))


def squared_norms(tensors: list[Tensor]) -> list[float]:
    """The squared norm of each, accumulated in float64, which are read at once."""
    return read(real_parts(t.detach()).double().square().sum() for t in tensors)


def check_alpha(alpha: float) -> float:
    """``alpha`` as a float, if it lies in (0, inf] and 1 / alpha is representable in float32."""
    if isinstance(alpha, bool) or not isinstance(alpha, numbers.Real):
        raise TypeError(f"alpha must be a number in (0, inf], got {alpha!r}")
    if not alpha > 0:
        raise ValueError(f"alpha must be in (0, inf], got {alpha}: use a positive number (inf: the linearized model)")
    if not 1e-30 <= alpha <= 1e30 and alpha != math.inf:
        raise ValueError(
            f"alpha = {alpha:g} is not within 1e-30 and 1e30, where 1/alpha is a float32: choose one there"
        )
    return float(alpha)


def _check_net(net) -> None:
    if not isinstance(net, nn.Module):
        raise TypeError(f"net must be a torch.nn.Module, got {type(net).__name__}")
    if isinstance(net, Anchored):
        raise TypeError(f"net is already a {type(net).__name__}: wrap net.to_module() instead")
    if any(nn.parameter.is_lazy(p) for p in net.parameters()):
        raise ValueError("net has uninitialised lazy parameters: run it once on an example input first")
    if not any(p.requires_grad for p in net.parameters()):
        raise ValueError(f"{type(net).__name__} has no trainable parameters: lazy training needs at least one")
    hooked = [
        path or "(root)" for path, part in net.named_modules() if part._backward_hooks or part._backward_pre_hooks
    ]
    hooked += [name for name, p in net.named_parameters() if p._backward_hooks or p._post_accumulate_grad_hooks]
    if hooked:
        raise ValueError(f"net has a backward hook ({hooked[0]}), which would not be called: remove it")


def with_tensors(net: nn.Module, replace) -> nn.Module:
    """A deep copy of ``net`` in which ``replace`` gives each parameter's and buffer's value; ties stay tied.

    What it has kept of a forward pass is kept without its graph.
    """
    memo = {id(p): nn.Parameter(replace(p), requires_grad=p.requires_grad) for p in net.parameters()}
    memo |= {id(b): replace(b) for b in net.buffers()}
    memo = kept_without_graph(net) | memo
    return copy.deepcopy(net, memo)
