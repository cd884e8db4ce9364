"""Lists of what is selected, as of the rows that each expert of a mixture takes, whose lengths depend on theta.

A pair has one length at both ends, so where these select differently a list holds what either of them does. What is not
selected at an end is read there all the same; there it adds 0, or is written beyond the tensor's end, which is cut off.
"""

import operator
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, fx
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from .ends import Ends
from .pair import Discrete, UnsupportedOperator, primal
from .rewriting import call

aten = torch.ops.aten


def listed(mask) -> tuple[Any, Any]:
    """(places where the mask is true, whether each of them is selected), in a module that may count them.

    Raises:
        UnsupportedOperator: more or fewer places are selected at w than at w_0.
    """
    start = primal(mask).nonzero()
    if not isinstance(mask, Discrete) or torch.equal(*mask):
        return start, _all(start)
    places = type(mask)(start, mask.final.nonzero())
    if not isinstance(mask, Ends) and len(places.primal) != len(places.final):
        raise UnsupportedOperator(
            "how much it selects depends on theta, and the module counts that, or has it depend on one another: keep "
            'all elements, with torch.where for those that count, or wrap with difference="direct" in float64'
        )
    return places, type(mask)(*map(_all, places))


def listed_with_more(mask) -> tuple[Any, Any]:
    """As :func:`listed`, of the places where the mask is true at w_0 or at w; of one place where it is nowhere.

    A row that has one place at each end, as a first choice that has become the second, is one element of the list.
    """
    if not isinstance(mask, Discrete) or torch.equal(*mask):
        return _listed(primal(mask), primal(mask))
    alone = [dim for dim in range(mask.primal.dim()) if all((end.sum(dim) <= 1).all() for end in mask)]
    if mask.primal.dim() == 1 or not alone:
        return _listed(mask, mask.primal | mask.final)
    return _listed_along(mask, min(alone, key=lambda dim: mask.primal.shape[dim]))


def _listed_along(mask, dim: int) -> tuple[Any, Any]:
    """A dimension along which the mask is true in one place at most."""
    rows = mask.primal.any(dim) | mask.final.any(dim)
    where, others = rows.nonzero(as_tuple=True), rows.nonzero()
    selected = type(mask)(*(end.any(dim)[where] for end in mask))
    start, final = (end.int().argmax(dim)[where] for end in mask)
    places = torch.where(selected.primal, start, final), torch.where(selected.final, final, start)
    places = (torch.cat([others[:, :dim], place.unsqueeze(1), others[:, dim:]], 1) for place in places)
    return type(mask)(*places), selected


def listed_after_others(mask: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`listed`, after all places where the mask is false."""
    places = torch.cat([(~mask).nonzero(), mask.nonzero()])
    return places, mask[places.unbind(1)]


def listed_before_others(mask: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`listed`, before all places where the mask is false."""
    places = torch.cat([mask.nonzero(), (~mask).nonzero()])
    return places, mask[places.unbind(1)]


def _listed(mask, either: Tensor) -> tuple[Any, Any]:
    places = either.nonzero()
    if len(places) == 0 and either.numel():
        places = places.new_zeros(1, either.dim())
    where = places.unbind(1)
    return places, type(mask)(*(end[where] for end in mask)) if isinstance(mask, Discrete) else mask[where]


def _all(places: Tensor) -> Tensor:
    return torch.ones_like(places[:, 0], dtype=torch.bool)


def list_selected(graph: fx.Graph, weights: int) -> dict[Any, fx.Node]:
    """Have every list that depends on the first ``weights`` placeholders made by :func:`listed`.

    What writes by it then writes what is selected. Returns the length of each list -> whether elements are selected.
    """
    return _Lists(graph, weights).selected


def makes_list(node) -> bool:
    """Whether a node of a graph does."""
    return node.target in (listed, listed_with_more)


def list_more(graph: fx.Graph) -> None:
    """Have every list made by :func:`listed_with_more`."""
    for node in graph.nodes:
        if node.target is listed:
            node.target = listed_with_more


class _Lists:
    """Has lists in a traced graph made by :func:`listed`, and what writes by them write what is selected."""

    def __init__(self, graph: fx.Graph, weights: int):
        self._graph, self._of_mask, self.selected = graph, {}, {}
        self._dependent = dependent(graph, weights)
        for node in list(graph.nodes):
            if node.target is aten.nonzero.default and node.args[0].meta["val"].dim() and node in self._dependent:
                node.replace_all_uses_with(self._list(node, node.args[0], node))
            elif node.target is aten.index.Tensor and _length(node):
                node.args = (node.args[0], self._spelled(node, node.args[1], node))
            elif node.target is aten.index_put.default and _length(node.args[2]):
                node.args = (node.args[0], self._spelled(node, node.args[1], node.args[2]), *node.args[2:])
                if True in node.args[3:]:
                    self._add_selected(node, 2)
                else:
                    self._put_selected(node)
            elif node.target is aten.cat.default and all(_length(part) in self.selected for part in node.args[0]):
                self._join(node)
            elif node.target is aten.scatter_add.default:
                self._add_selected(node, 3)

    def _list(self, node: Any, mask: Any, like: Any) -> Any:
        """The places of the list at the mask, before the ``node``, whose length is that of ``like``."""
        if mask not in self._of_mask:
            with self._graph.inserting_before(node):
                condition, places = mask, like.meta["val"].new_empty([], dtype=torch.long)
                if mask.meta["val"].dtype != torch.bool:
                    condition = call(self._graph, aten.ne.Scalar, (mask, 0), node.meta)
                both = self._graph.call_function(listed, (condition,))
                places = places.expand(size_of_list(like.meta["val"]), mask.meta["val"].dim())
                both.meta = node.meta | {"val": (places, places[:, 0] > 0)}
                self._of_mask[mask] = [call(self._graph, operator.getitem, (both, i), node.meta) for i in range(2)]
        places, selected = self._of_mask[mask]
        self.selected[_length(like)] = selected
        return places

    def _spelled(self, node: Any, indices: list, like: Any) -> list:
        """The indices of an operator, with places for masks."""
        spelled = []
        for index in indices:
            own = index in self._dependent and index.meta["val"]
            if own is False or own.dtype != torch.bool or not own.dim():
                spelled.append(index)
                continue
            places = self._list(node, index, like)
            with self._graph.inserting_before(node):
                for i in range(own.dim()):
                    spelled.append(call(self._graph, aten.select.int, (places, 1, i), node.meta))
        return spelled

    def _join(self, node: Any) -> None:
        """One list of several."""
        if _length(node) not in self.selected:
            with self._graph.inserting_before(node):
                each = [self.selected[_length(part)] for part in node.args[0]]
                self.selected[_length(node)] = call(self._graph, aten.cat.default, (each,), node.meta)

    def _add_selected(self, node: Any, position: int) -> None:
        """Have 0 added for what is not selected, by the argument at this position."""
        values = node.args[position]
        if _length(values) in self.selected:
            with self._graph.inserting_before(node):
                zero = call(self._graph, aten.full.default, ([], 0), node.meta, _kind(values))
                where = call(self._graph, aten.where.self, (self._are_selected(values), values, zero), node.meta)
            node.update_arg(position, where)

    def _put_selected(self, node: Any) -> None:
        x, indices, *rest = node.args
        dim = next((i for i, index in enumerate(indices) if index and _length(index) in self.selected), None)
        if dim is not None:
            with self._graph.inserting_before(node):
                selected, after = self._are_selected(indices[dim]), x.meta["val"].dim() - 1 - dim
                index = self._from_the_start(indices[dim], x, dim)
                where = call(self._graph, aten.where.ScalarOther, (selected, index, -1), node.meta)
                longer = call(self._graph, aten.constant_pad_nd.default, (x, [0, 0] * after + [0, 1]), node.meta)
                args = (longer, [*indices[:dim], where, *indices[dim + 1 :]], *rest)
                longer = call(self._graph, node.target, args, node.meta)
            node.target, node.args = aten.slice.Tensor, (longer, dim, 0, -1)

    def _from_the_start(self, index: Any, x: Any, dim: int) -> Any:
        """An index along this dimension of x, which counts from the end where it is negative."""
        size = call(self._graph, aten.sym_size.int, (x, dim), index.meta)
        from_end = call(self._graph, aten.add.Tensor, (index, size), index.meta)
        negative = call(self._graph, aten.lt.Scalar, (index, 0), index.meta)
        return call(self._graph, aten.where.self, (negative, from_end, index), index.meta)

    def _are_selected(self, of_list: Any) -> Any:
        """The elements of what has a list's length, in its shape but for other dimensions."""
        shape = shape_along_list(of_list.meta["val"])
        return call(self._graph, aten.reshape.default, (self.selected[_length(of_list)], shape), of_list.meta)


def dependent(graph: fx.Graph, weights: int) -> set:
    """The nodes that depend on the first ``weights`` placeholders."""
    found = set([node for node in graph.nodes if node.op == "placeholder"][:weights])
    for node in graph.nodes:
        if not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _kind(node: Any) -> dict:
    return {"dtype": node.meta["val"].dtype, "device": node.meta["val"].device}


def length_of(tensor: Tensor) -> Any:
    """The size of a traced tensor that depends on values, as an expression; None if it has none."""
    size = size_of_list(tensor)
    return None if size is None else size.node.expr


def size_of_list(tensor: Tensor) -> Any:
    """The size itself."""
    return next((size for size in tensor.shape if _unbacked(size)), None)


def shape_along_list(tensor: Tensor) -> list[int]:
    """Of what has a number for each element, beside a traced tensor."""
    return [-1 if _unbacked(size) else 1 for size in tensor.shape]


def _length(node: Any) -> Any:
    return length_of(node.meta["val"])


def _unbacked(size) -> bool:
    return isinstance(size, torch.SymInt) and bool(free_unbacked_symbols(size))


def of_lists(nodes: list) -> set:
    """The nodes whose sizes, by what theta selects at w, differ from run to run; and what reads them, as it rounds."""
    found, reading = set(), set()
    for node in nodes:
        if makes_list(node) or not found.isdisjoint(node.all_input_nodes):
            leaves = pytree.tree_leaves(node.meta.get("val"))
            is_one = any(isinstance(leaf, Tensor) and length_of(leaf) is not None for leaf in leaves)
            (found if is_one else reading).add(node)
    return found | reading
