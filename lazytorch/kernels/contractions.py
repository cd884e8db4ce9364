"""Three exact ways to the kernel of one parameter, sum_p J_ik[p] J_jl[p], with what each costs.

J_ik = sum_s G_ik[s] (x) A_i[s] over positions s, for every use of the parameter (:mod:`.layers`). With D inputs and O
outputs at each of S positions (Novak, Sohl-Dickstein & Schoenholz, "Fast Finite Width Neural Tangent Kernel", ICML 2022):

    parameter space   J_ik, then J J^T                                      (nK)^2 O D + nK O D S
    position space    sum_{s,s'} (A_i[s] . A_j[s']) (G_ik[s] . G_jl[s'])    (nS)^2 D + (nKS)^2 O
    pairwise          M_ij = A_i A_j^T, then <M_ij^T G_ik, G_jl>            n^2 (S^2 D + K O S^2 + K^2 O S)

Features, of which a list is held for a block of examples, have the examples first. Kernels are accumulated in blocks
(R, n1, K, n2, K): R = 1 for the full kernel; for the trace, whose outputs are more of the parameter's coordinates, R = 1
and K = 1; for the diagonal R is the number of outputs and K = 1.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from .inspection import Parameter, Use

#: A pass over memory costs about as much as this many multiply-adds of a matrix product, per element.
ELEMENTWISE = 16


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
        return len(kinds) == 1 and "vector" not in kinds

    def floats(self) -> int:
        """Numbers of the features of one example."""
        raise NotImplementedError

    def scratch(self) -> int:
        """Numbers of intermediate results for one pair of examples."""
        return 0

    def per_pair(self, elementwise: int = 0) -> int:
        """Multiply-adds for one pair of examples."""
        raise NotImplementedError

    def per_example(self) -> int:
        """Multiply-adds to form the features of one example from its operands and cotangents."""
        return 0

    def allocate(self, n: int, like: Tensor) -> list[Tensor]:
        """Features for n examples."""
        raise NotImplementedError

    def fill(self, features: list[Tensor], output: int, number: int, operand: Tensor, gradient: Tensor) -> None:
        """Enter what use ``number`` gives for one output: operand A and cotangent G of its layer."""
        raise NotImplementedError

    def contract(self, left: list[Tensor], right: list[Tensor], kernel: Tensor, scratch: int) -> None:
        """Add the kernel of this parameter to ``kernel`` (R, n1, K, n2, K), within ``scratch`` intermediate numbers."""
        raise NotImplementedError

    def _pairs(self) -> Iterator[tuple[Use, Use]]:
        return ((left, right) for left in self.uses for right in self.uses)


class ParameterSpace(Contraction):
    """The Jacobian itself; also for parameters of any other kind, whose Jacobian is then found by differentiation."""

    name = "parameter space"
    possible = True

    def floats(self):
        return self.outputs * self.size

    def per_pair(self, elementwise=0):
        return self.repeats * self.rows**2 * self.folded * self.size

    def per_example(self):
        return sum(self.outputs * u.groups * u.positions * u.inputs * u.outputs for u in self.uses)

    def allocate(self, n, like):
        return [like.new_zeros(n, self.outputs, self.size)]

    def fill(self, features, output, number, operand, gradient):
        jacobian, use = features[0][:, output], self.uses[number]
        if use.kind == "vector":
            jacobian += gradient
        elif use.kind == "tokens":
            index = operand.flatten(1).clamp(min=0).unsqueeze(2).expand(-1, -1, use.outputs)
            rows = gradient.flatten(1, 2).masked_fill(operand.flatten(1).unsqueeze(2) < 0, 0)
            jacobian.unflatten(1, (-1, use.outputs)).scatter_add_(1, index, rows)
        else:
            factors = (operand, gradient) if use.kind == "transposed" else (gradient, operand)
            jacobian += (factors[0].mT @ factors[1]).flatten(1)

    def contract(self, left, right, kernel, scratch):
        for number in range(self.repeats):
            outputs = slice(number, number + 1) if self.repeats > 1 else slice(None)
            n1, rows, n2, columns = kernel[number].shape
            matrix = kernel[number].view(n1 * rows, n2 * columns)
            matrix.addmm_(left[0][:, outputs].reshape(n1 * rows, -1), right[0][:, outputs].reshape(n2 * columns, -1).T)


class PositionSpace(Contraction):
    """Gram matrices of operands and of cotangents over positions, multiplied elementwise."""

    name = "position space"

    def floats(self):
        return sum(u.groups * u.positions * (u.inputs + self.outputs * u.outputs) for u in self.uses)

    def scratch(self):
        return max(u.positions * v.positions * (2 * self.rows**2 + 1) for u, v in self._pairs())

    def per_pair(self, elementwise=0):
        both = self.repeats * self.rows**2
        return sum(
            u.groups * u.positions * v.positions * (u.inputs + both * (self.folded * u.outputs + elementwise))
            for u, v in self._pairs()
        )

    def allocate(self, n, like):
        features = []
        for u in self.uses:
            shape = (n, u.groups, u.positions) if u.kind == "tokens" else (n, u.groups, u.positions, u.inputs)
            features.append(like.new_zeros(shape, dtype=torch.int64 if u.kind == "tokens" else like.dtype))
            features.append(like.new_zeros(n, self.outputs // self.folded, u.groups, u.positions, self.folded, u.outputs))
        return features

    def fill(self, features, output, number, operand, gradient):
        if output == 0:
            features[2 * number].copy_(operand)
        cotangents = features[2 * number + 1]
        (cotangents[:, 0, :, :, output] if self.folded > 1 else cotangents[:, output, :, :, 0]).copy_(gradient)

    def contract(self, left, right, kernel, scratch):
        n2 = kernel.shape[3]
        step = max(1, scratch // (self.scratch() * n2))
        for start in range(0, kernel.shape[1], step):
            rows = slice(start, start + step)
            for u in range(len(self.uses)):
                for v in range(len(self.uses)):
                    a, b = (left[2 * u][rows], left[2 * u + 1][rows]), (right[2 * v], right[2 * v + 1])
                    for group in range(self.uses[u].groups):
                        self._add(a[0][:, group], b[0][:, group], a[1][:, :, group], b[1][:, :, group], kernel[:, rows])

    def _add(self, operands1, operands2, cotangents1, cotangents2, kernel):
        n1, rows, n2, columns = kernel.shape[1:]
        s1, s2 = operands1.shape[1], operands2.shape[1]
        gram = _gram(operands1, operands2)
        for number in range(self.repeats):
            outputs = slice(number, number + 1) if self.repeats > 1 else slice(None)
            g1 = cotangents1[:, outputs].reshape(n1 * rows * s1, -1)
            g2 = cotangents2[:, outputs].reshape(n2 * columns * s2, -1)
            product = (g1 @ g2.T).view(n1, rows, s1, n2, columns, s2).mul_(gram.view(n1, 1, s1, n2, 1, s2))
            kernel[number] += product[:, :, 0, :, :, 0] if s1 == s2 == 1 else product.sum((2, 5))


class Pairwise(Contraction):
    """For every pair of examples the Gram matrix of their operands, through which one's cotangents go to the other."""

    name = "pairwise"

    @property
    def possible(self):
        return super().possible and self.kind == "full"

    def floats(self):
        return sum(u.groups * u.positions * (u.inputs + self.outputs * u.outputs) for u in self.uses)

    def scratch(self):
        return max(v.positions * (u.positions + self.outputs * u.outputs) for u, v in self._pairs())

    def per_pair(self, elementwise=0):
        return sum(
            u.groups * u.positions * v.positions * (u.inputs + self.outputs * u.outputs + elementwise)
            + u.groups * self.outputs * u.outputs * v.positions * (self.outputs + elementwise)
            for u, v in self._pairs()
        )

    def allocate(self, n, like):
        features = []
        for u in self.uses:
            shape = (n, u.groups, u.positions) if u.kind == "tokens" else (n, u.groups, u.positions, u.inputs)
            features.append(like.new_zeros(shape, dtype=torch.int64 if u.kind == "tokens" else like.dtype))
            features.append(like.new_zeros(n, u.groups, self.outputs, u.outputs, u.positions))
        return features

    def fill(self, features, output, number, operand, gradient):
        if output == 0:
            features[2 * number].copy_(operand)
        features[2 * number + 1][:, :, output].copy_(gradient.mT)

    def contract(self, left, right, kernel, scratch):
        step = max(1, scratch // self.scratch())
        for start in range(0, kernel.shape[1], step):
            rows = slice(start, start + step)
            for u in range(len(self.uses)):
                for v in range(len(self.uses)):
                    a, b = (left[2 * u][rows], left[2 * u + 1][rows]), (right[2 * v], right[2 * v + 1])
                    for group in range(self.uses[u].groups):
                        self._add(a[0][:, group], b[0][:, group], a[1][:, group], b[1][:, group], kernel[0, rows])

    @staticmethod
    def _add(operands1, operands2, cotangents1, cotangents2, kernel):
        n1, rows, n2, columns = kernel.shape
        s1 = operands1.shape[1]
        for j in range(n2):
            gram = _gram(operands1, operands2[j : j + 1]).view(n1, s1, -1).to(kernel.dtype)
            moved = cotangents1.reshape(n1, -1, s1) @ gram
            product = moved.view(n1 * rows, -1) @ cotangents2[j].reshape(columns, -1).T
            kernel[:, :, j] += product.view(n1, rows, columns)


def _gram(left: Tensor, right: Tensor) -> Tensor:
    """(n1 S, n2 S') of operands (n, S, D), or of tokens (n, S): 1 where they are the same and no padding."""
    if left.dim() == 3:
        return left.flatten(0, 1) @ right.flatten(0, 1).T
    left, right = left.reshape(-1, 1), right.reshape(1, -1)
    return (left == right) & (left >= 0)


FORMS = (ParameterSpace, PositionSpace, Pairwise)
