"""Selections: operators that are linear in some arguments, the values, while conditions or indices choose among them.

S(x; s) has the divided difference S(d; s_1) + [S(a; s_1) - S(a; s_0)] / eps, the first term alone where the selectors
s_0 at w_0 and s_1 at w agree; at eps = 0 that is S(d; s_0).
"""

import torch
import torch.utils._pytree as pytree

from .jumps import chosen_jump
from .pair import Discrete, UnsupportedOperator, difference, primal, rule, value, varies

aten = torch.ops.aten

#: Operator -> the positions of its values; all other arguments are selectors.
SELECTIONS = {
    aten.complex: (0, 1),
    aten.diagonal_scatter: (0, 1),
    aten.embedding: (0,),
    aten.gather: (0,),
    aten.index.Tensor: (0,),
    aten.index_put: (0, 2),
    aten.index_select: (0,),
    aten.masked_scatter: (0, 2),
    aten.scatter.src: (0, 3),
    aten.scatter.value: (0, 3),
    aten.scatter_add: (0, 3),
    aten.select_scatter: (0, 1),
    aten.slice_scatter: (0, 1),
    aten.take: (0,),
    aten.where.self: (1, 2),
}


def _selection(operator, positions):
    def select(epsilon, out, *arguments, **options):
        def call(values):
            mixed = (values(x) if i in positions else _at_w(x, epsilon) for i, x in enumerate(arguments))
            return operator(*mixed, **options)

        result = call(_difference_or_zero)
        if any(isinstance(leaf, Discrete) for leaf in pytree.tree_leaves(arguments, is_leaf=varies)):
            result = result + chosen_jump(epsilon, out, call(primal))
        return result

    return select


def _difference_or_zero(x):
    if isinstance(x, torch.Tensor):
        return torch.zeros_like(x)
    return 0 if difference(x) is None else difference(x)


def _at_w(selector, epsilon):
    return pytree.tree_map(lambda leaf: value(leaf, epsilon), selector, is_leaf=varies)


def _by_parts(operator):
    """As the operator, of complex tensors too, of which torch does not differentiate it."""

    def scatter(x, source, *where):
        if not x.is_complex():
            return operator(x, source, *where)
        return torch.complex(operator(x.real, source.real, *where), operator(x.imag, source.imag, *where))

    return scatter


WITHOUT_COMPLEX = (aten.diagonal_scatter, aten.select_scatter, aten.slice_scatter)

for _operator, _positions in SELECTIONS.items():
    _function = _by_parts(_operator) if _operator in WITHOUT_COMPLEX else _operator
    rule(_operator)(_selection(_function, _positions))


#: Sizes of what inputs select. Where theta selects another number of elements, a jump says so.
SIZES = (aten.sym_size, aten.sym_numel)


@rule(*SIZES)
def size(epsilon, out, x, dim=None):
    if isinstance(x, Discrete) and x.primal.shape != x.final.shape:
        raise UnsupportedOperator("how many elements are selected depends on theta, and the module counts them")
    return None
