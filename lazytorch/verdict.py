"""Whether a training was lazy, in words, from what was measured of it."""

import math
from collections.abc import Mapping

#: Lazy is what stays below all of these: relative drift of the kernel, share of units that have flipped, relative error
#: of the linearization. At a tenth the linearized model gives nine tenths of what happened. A share p of flipped units
#: exchanges up to 2 p of the products of gates that a layer's kernel sums, and layers add up: 0.03 is about a tenth.
LAZY = {"drift": 0.1, "flipped": 0.03, "error": 0.1}
#: Not lazy is what is above one of these: the kernel has moved by its own norm; half of the units are as if drawn anew,
#: of which one half flips; the linearized model misses half of the change; the weights have moved by their own norm.
NOT_LAZY = {"drift": 1.0, "flipped": 0.25, "error": 0.5, "displacement": 1.0}

#: What became of a claim, by what summary.json has of it as "held".
OUTCOMES = {True: "held", False: "not held", None: "hypotheses not met"}
NOT_CHECKED = "could not be checked"


def outcome(claim: Mapping) -> str:
    """What became of a claim of summary.json, in words."""
    return NOT_CHECKED if claim.get("error") else OUTCOMES[claim.get("held")]


def verdict(measured: Mapping) -> str:
    """Words as "lazy: kernel drift 0.3%, 99.8% of activations unchanged, linearization error 0.4%".

    Reads ``ntk_drift``, ``activation_stability`` and ``linearization_error``, leaving out what is missing, None or nan:
    "lazy" if all are below ``LAZY``, "not lazy" if one is above ``NOT_LAZY``, as ``displacement`` may be too, else
    "between"; "not measured" if there is none. "linear" if ``alpha`` is infinite (or "inf", as in a summary) and none
    has moved, otherwise "not trained" if ``displacement`` is 0. Other keys may be there.
    """
    numbers = {name: _number(value) for name, value in measured.items()}
    stability = numbers.get("activation_stability")
    moved = {
        "drift": numbers.get("ntk_drift"),
        "flipped": None if stability is None else 1 - stability,
        "error": numbers.get("linearization_error"),
    }
    moved = {name: value for name, value in moved.items() if value is not None}
    displacement = numbers.get("displacement")
    if displacement is not None and displacement > NOT_LAZY["displacement"]:  # a kernel may drift little in ruins
        moved["displacement"] = displacement
    infinite = numbers.get("alpha") == math.inf
    if infinite and not any(moved.values()):
        return "linear: alpha is infinite"
    if displacement == 0 and not infinite:
        return "not trained: the weights are those of the start"
    if not moved:
        return "not measured"
    return f"{_grade(moved)}: {', '.join(WORDS[name](value) for name, value in moved.items())}"


def _number(value) -> float | None:
    if value != "inf" and not isinstance(value, (int, float)):
        return None
    return None if math.isnan(float(value)) else float(value)


def _grade(moved: dict[str, float]) -> str:
    if any(value > NOT_LAZY[name] for name, value in moved.items()):
        return "not lazy"
    return "lazy" if all(value < LAZY[name] for name, value in moved.items()) else "between"


def _unchanged(flipped: float) -> str:
    if flipped == 0:
        return "all activations unchanged"
    if flipped < 1e-3:  # what would round to 100.0%
        return f"all but {_share(flipped)} of activations unchanged"
    return f"{100 * (1 - flipped):.1f}% of activations unchanged"


def _share(value: float) -> str:
    """In per cent; what is tiny or huge as a power of ten."""
    if value == 0:
        return "0"
    if 1e-3 <= value < 1e3:
        return f"{100 * value:.{1 if value < 0.1 else 0}f}%"
    mantissa, e, exponent = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


WORDS = {
    "drift": lambda value: f"kernel drift {_share(value)}",
    "flipped": _unchanged,
    "error": lambda value: f"linearization error {_share(value)}",
    "displacement": lambda value: f"weights moved by {value:.2g} times their norm",
}
