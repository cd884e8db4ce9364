"""Exact ways to the kernel of one parameter, sum_p J_ik[p] J_jl[p], with what each costs.

J_ik = sum_s G_ik[s] (x) A_i[s] over positions s, for every use of the parameter (:mod:`.layers`). With D inputs and O
outputs at each of S positions:

    parameter space   J_ik, then J J^T                                      (nK)^2 O D + nK O D S
    position space    sum_{s,s'} (A_i[s] . A_j[s']) (G_ik[s] . G_jl[s'])    (nS)^2 D + (nKS)^2 O
    pairwise          M_ij = A_i A_j^T, then <M_ij^T G_ik, G_jl>            n^2 (S^2 D + K O S^2 + K^2 O S)

Parameter space comes in two ways, with the Jacobian held (O D numbers for every output), or formed in blocks from what
is held for the other forms (S (O + D / K) numbers), again for every tile.

Features, of which a list is held for a block of examples, have the examples first. Kernels are accumulated in blocks
(R, n1, K, n2, K): R = 1 for the full kernel; R = 1 and K = 1 for the trace, where the outputs are more coordinates of
the parameter; for the diagonal R is the number of outputs and K = 1.

Source: Novak, Sohl-Dickstein & Schoenholz, "Fast Finite Width Neural Tangent Kernel" (ICML 2022), section 3.
"""

import itertools
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .inspection import Parameter, Use

#: A pass over memory costs about as much as this many multiply-adds of a matrix product, per element.
ELEMENTWISE = 16
#: Intermediate numbers that stay in the caches of a processor.
CACHED = 2**20
#: Numbers of a block of Jacobians, large enough for matrix products at their best.
BLOCK = 2**22


class Contraction:
    """One way for one parameter, ``kind`` of kernel and number of outputs. Costs are in multiply-adds."""

    name: str

    def __init__(self, parameter: Parameter, kind: str, outputs: int):
        self.uses, self.size, self.kind, self.outputs = parameter.uses, parameter.size, kind, outputs
        self.repeats = outputs if kind == "diagonal" else 1
        self.rows = outputs if kind == "full" else 1
        self.folded = outputs if kind == "trace" else 1

    @property
    def possible(self) -> bool:
        """Whether the form exists for these uses and this kind of kernel."""
        kinds = {use.kind for use in self.uses}
        sizes = {(use.groups, use.inputs, use.outputs) for use in self.uses}
        return len(kinds) == len(sizes) == 1 and "vector" not in kinds

    def floats(self) -> int:
        """Numbers of the features of one example."""
        return sum(u.groups * u.positions * (u.inputs + self.outputs * u.outputs) for u in self.uses)

    def scratch(self) -> int:
        """Intermediate numbers for one pair of examples."""
        return 0

    def per_pair(self, elementwise: int = 0) -> int:
        """Multiply-adds for one pair of examples."""
        raise NotImplementedError

    def per_example(self) -> int:
        """Multiply-adds to form the features of one example from its operands and cotangents."""
        return 0

    def per_side(self) -> int:
        """Multiply-adds for one example of the rows or columns of a tile."""
        return 0

    def allocate(self, n: int, like: Tensor) -> list[Tensor]:
        """Room for the features of n examples: for every use operands, then cotangents."""
        features = []
        for use in self.uses:
            shape, dtype = (n, use.groups, use.positions, use.inputs), like.dtype
            if use.kind == "tokens":
                shape, dtype = shape[:3], torch.int64
            features += [like.new_empty(shape, dtype=dtype), like.new_empty(self.cotangents_shape(n, use))]
        return features

    def cotangents_shape(self, n: int, use: Use) -> tuple[int, ...]:
        """How the cotangents of one use are held, with the outputs second."""
        return (n, self.outputs, use.groups, use.outputs, use.positions)

    def fill(self, features: list[Tensor], output: int, number: int, operand: Tensor, gradient: Tensor) -> None:
        """Enter what use ``number`` gives for one output: operand A and cotangent G of its layer."""
        if output == 0:
            features[2 * number].copy_(operand)
        features[2 * number + 1][:, output].copy_(gradient.mT)

    def contract(self, left: list[Tensor], right: list[Tensor], kernel: Tensor, scratch: int, symmetric: bool) -> None:
        """Add the kernel of this parameter to ``kernel`` (R, n1, K, n2, K), within ``scratch`` intermediate numbers.

        If ``symmetric``, only pairs i <= j need be computed, others may be.
        """
        raise NotImplementedError

    def add_products(self, left: Tensor, right: Tensor, kernel: Tensor, symmetric: bool) -> None:
        """Add the inner products of Jacobians, or of the same part of them, (n1, outputs, p) and (n2, outputs, p)."""
        n1, rows, n2, columns = kernel.shape[1:]
        step = max(1, n1 // 8, 128 // rows) if symmetric else n1
        for start in range(0, n1, step):
            here, there = slice(start, start + step), slice(start if symmetric else 0, n2)
            for number, outputs in enumerate(self._by_output()):
                first, second = left[here, outputs], right[there, outputs]
                matrix = kernel[number].view(n1 * rows, n2 * columns)
                matrix = matrix[start * rows : (start + step) * rows, there.start * columns :]
                matrix.addmm_(first.reshape(len(first) * rows, -1), second.reshape(len(second) * columns, -1).T)

    def _by_output(self) -> list[slice]:
        """The outputs that belong to each of the R kernels."""
        return [slice(k, k + 1) for k in range(self.outputs)] if self.repeats > 1 else [slice(None)]


class ParameterSpace(Contraction):
    """The Jacobian itself; also for parameters of any other kind, whose Jacobian is then found by differentiation."""

    name = "parameter space"

    @property
    def possible(self):
        return True

    def floats(self):
        return self.outputs * self.size

    def per_pair(self, elementwise=0):
        return self.repeats * self.rows**2 * self.folded * self.size

    def per_example(self):
        matrices = [use for use in self.uses if use.kind != "vector"]
        return sum(self.outputs * u.groups * u.positions * u.inputs * u.outputs for u in matrices)

    def allocate(self, n, like):
        return [like.new_empty(n, self.outputs, self.size)]

    def fill(self, features, output, number, operand, gradient):
        jacobian, use, first_use = features[0][:, output], self.uses[number], number == 0
        if use.kind == "vector":
            jacobian.copy_(gradient if first_use else jacobian + gradient)
        elif use.kind == "tokens":
            if first_use:
                jacobian.zero_()
            index = operand.flatten(1).clamp(min=0).unsqueeze(2).expand(-1, -1, use.outputs)
            rows = gradient.flatten(1, 2).masked_fill(operand.flatten(1).unsqueeze(2) < 0, 0)
            jacobian.unflatten(1, (-1, use.outputs)).scatter_add_(1, index, rows)
        else:
            first, second = (operand, gradient) if use.kind == "transposed" else (gradient, operand)
            product = (first.mT @ second).flatten(1)
            jacobian.copy_(product if first_use else product.add_(jacobian))

    def contract(self, left, right, kernel, scratch, symmetric):
        self.add_products(left[0], right[0], kernel, symmetric)


class OverPositions(Contraction):
    """What the forms share that go over pairs of positions: blocks of the kernel, pairs of uses, and groups."""

    def contract(self, left, right, kernel, scratch, symmetric):
        n1, n2 = kernel.shape[1], kernel.shape[3]
        height, width = self.block(n1, n2, scratch if kernel.device.type != "cpu" else min(scratch, CACHED))
        for i in range(0, n1, height):
            for j in range(i if symmetric else 0, n2, width):
                here, there = slice(i, i + height), slice(j, j + width)
                for u, v in itertools.product(range(len(self.uses)), repeat=2):
                    for group in range(self.uses[u].groups):
                        first = (left[2 * u][here, group], left[2 * u + 1][here, :, group])
                        second = (right[2 * v][there, group], right[2 * v + 1][there, :, group])
                        self.add(first, second, kernel[:, here, :, there], symmetric and i == j)

    def pairs(self) -> Iterator[tuple[Use, Use]]:
        """All pairs of uses."""
        return itertools.product(self.uses, self.uses)

    def block(self, n1: int, n2: int, scratch: int) -> tuple[int, int]:
        """How many rows and columns to take at once."""
        raise NotImplementedError

    def add(self, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], kernel: Tensor, symmetric: bool) -> None:
        """Add what two uses, operands and cotangents of one group, give to ``kernel``."""
        raise NotImplementedError


class ParameterBlocks(Contraction):
    """The Jacobian again, formed when it is needed, a block of the parameter at a time."""

    name = "parameter blocks"

    @property
    def possible(self):
        return super().possible and self.uses[0].kind != "tokens"

    def scratch(self):
        return 2 * self.outputs

    def per_pair(self, elementwise=0):
        return self.repeats * self.rows**2 * self.folded * self.size

    def per_side(self):
        return sum(self.outputs * u.groups * u.positions * u.inputs * u.outputs for u in self.uses)

    def contract(self, left, right, kernel, scratch, symmetric):
        use, examples = self.uses[0], kernel.shape[1] + (0 if symmetric else kernel.shape[3])
        room = (scratch if kernel.device.type != "cpu" else min(scratch, BLOCK)) // (examples * self.outputs)
        inputs = max(1, min(use.inputs, room))
        outputs = max(1, room // inputs)
        for group, o, i in itertools.product(
            range(use.groups), range(0, use.outputs, outputs), range(0, use.inputs, inputs)
        ):
            block = (group, slice(o, o + outputs), slice(i, i + inputs))
            first = self._jacobian(left, *block)
            self.add_products(first, first if symmetric else self._jacobian(right, *block), kernel, symmetric)

    def _jacobian(self, features: list[Tensor], group: int, outputs: slice, inputs: slice) -> Tensor:
        """These rows and columns of the Jacobian of one group, (n, outputs, p)."""
        factors = (
            (cotangents[:, :, group, outputs].flatten(1, 2), operands[:, group, :, inputs])
            for operands, cotangents in zip(features[::2], features[1::2], strict=True)
        )
        jacobian = torch.bmm(*next(factors))
        for rows, columns in factors:
            jacobian.baddbmm_(rows, columns)
        return jacobian.view(*features[1].shape[:2], -1)


class PositionSpace(OverPositions):
    """Gram matrices of operands and of cotangents over positions, multiplied elementwise."""

    name = "position space"

    def scratch(self):
        return max(u.positions * v.positions * (2 * self.rows**2 + 1) for u, v in self.pairs())

    def block(self, n1, n2, scratch):
        pairs = max(1, scratch // self.scratch())
        height = min(n1, math.isqrt(pairs))
        return height, pairs // height

    def per_pair(self, elementwise=0):
        both = self.repeats * self.rows**2
        return sum(
            u.groups * u.positions * v.positions * (u.inputs + both * (self.folded * u.outputs + elementwise))
            for u, v in self.pairs()
        )

    def cotangents_shape(self, n, use):
        return (n, self.outputs // self.folded, use.groups, use.positions, self.folded, use.outputs)

    def fill(self, features, output, number, operand, gradient):
        if output == 0:
            features[2 * number].copy_(operand)
        cotangents = features[2 * number + 1]
        (cotangents[:, 0, :, :, output] if self.folded > 1 else cotangents[:, output, :, :, 0]).copy_(gradient)

    def add(self, first, second, kernel, symmetric):
        n1, rows, n2, columns = kernel.shape[1:]
        gram = _gram(first[0], second[0]).view(n1, 1, first[0].shape[1], n2, 1, second[0].shape[1])
        for number, outputs in enumerate(self._by_output()):
            left, right = (side[:, outputs].flatten(3).flatten(0, 2) for side in (first[1], second[1]))
            product = (left @ right.T).view(n1, rows, gram.shape[2], n2, columns, gram.shape[5]).mul_(gram)
            for dim in (2, -1):  # one after the other, which is faster than both
                product = product.sum(dim) if product.shape[dim] > 1 else product.squeeze(dim)
            kernel[number] += product


class Pairwise(OverPositions):
    """For every pair of examples the Gram matrix of their operands, through which one's cotangents go to the other."""

    name = "pairwise"

    @property
    def possible(self):
        return super().possible and self.kind == "full"

    def scratch(self):
        return max(v.positions * (u.positions + self.outputs * u.outputs) for u, v in self.pairs())

    def block(self, n1, n2, scratch):
        return max(1, scratch // self.scratch()), n2

    def per_pair(self, elementwise=0):
        return sum(
            u.groups * u.positions * v.positions * (u.inputs + self.outputs * u.outputs + elementwise)
            + u.groups * self.outputs * u.outputs * v.positions * (self.outputs + 2 * elementwise)  # written, and read
            for u, v in self.pairs()
        )

    def add(self, first, second, kernel, symmetric):
        operands, cotangents = first[0], first[1].flatten(1, 2)
        # One room for all pairs: what is allocated again each time comes from the operating system page by page.
        moved = kernel.new_empty(*cotangents.shape[:2], second[0].shape[1])
        for j in range(kernel.shape[3]):
            n1 = min(len(moved), j + 1) if symmetric else len(moved)
            gram = _gram(operands[:n1], second[0][j : j + 1]).view(n1, operands.shape[1], -1).to(kernel.dtype)
            torch.bmm(cotangents[:n1], gram, out=moved[:n1])
            columns = second[1][j].flatten(1)
            kernel[0, :n1, :, j] += (moved[:n1].view(-1, columns.shape[1]) @ columns.T).view(n1, -1, len(columns))


def _gram(left: Tensor, right: Tensor) -> Tensor:
    """(n1 S, n2 S') of operands (n, S, D), or of tokens (n, S): 1 where they are the same and no padding."""
    if left.dim() == 3:
        return left.flatten(0, 1) @ right.flatten(0, 1).T
    left, right = left.reshape(-1, 1), right.reshape(1, -1)
    return (left == right) & (left >= 0)


FORMS = (ParameterSpace, ParameterBlocks, PositionSpace, Pairwise)
