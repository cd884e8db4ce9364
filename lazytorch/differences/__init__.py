"""Divided-difference arithmetic: D_eps f(x; theta) = [f(x; w_0 + eps theta) - f(x; w_0)] / eps without subtraction.

Each operator of the traced module maps pairs (value at w_0, divided difference) to pairs; see :class:`Pair`.
"""

from .pair import Pair, UnsupportedOperator, rule
from .program import Program
from .trace import UntraceableModule

__all__ = ["Pair", "Program", "UnsupportedOperator", "UntraceableModule", "rule"]
