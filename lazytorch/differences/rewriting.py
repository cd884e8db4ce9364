"""What is changed in a traced graph, so that differences can go through it, and as cheaply as in plain training."""

import operator

import torch
from torch.fx.node import map_arg

from .in_place import changing
from .pair import is_continuous

aten = torch.ops.aten

#: Of one tensor, or of parts of it.
VIEWS = {aten.t, aten.transpose, aten.permute, aten.unsqueeze, aten.squeeze, aten.reshape}
VIEWS |= {aten.slice, aten.select, aten.split, aten.split_with_sizes, aten.unbind}
#: Operators that ask for strides, which a difference may not have (a broadcast parameter's, for one), and their like.
STRIDED = {aten.view.default: aten.reshape.default, aten._unsafe_view.default: aten.reshape.default}


def rewrite(graph, inside: frozenset, kept: set) -> None:
    """All of it but :func:`find_places`; what is ``inside`` custom functions, and ``kept`` for them, stays."""
    free_strides(graph)
    lift_constants(graph)
    update_statistics(graph)
    count_in_place(graph)
    fold_products(graph, inside)
    fold_biases(graph, inside | kept)
    fold_transposes(graph, inside | kept)
    share_views(graph, inside | kept)


def free_strides(graph) -> None:
    """Have no operator ask for strides."""
    for node in graph.nodes:
        node.target = STRIDED.get(node.target, node.target)


def update_statistics(graph) -> None:
    """Have batch norms update their running statistics themselves, as later versions of torch than 2.6 trace them.

    Where they return them instead, to be copied, the copy changes what autograd has saved.
    """
    for node in graph.nodes:
        if node.target is aten._native_batch_norm_legit_functional.default:
            copies = [user for result in node.users if result.args[1] in (3, 4) for user in result.users]
            given = [(aten.copy_.default, statistics) for statistics in node.args[3:5]]
            if [(copy.target, copy.args[0]) for copy in copies] == given:
                node.target = aten.native_batch_norm.default
                for copy in copies:
                    graph.erase_node(copy)


def count_in_place(graph) -> None:
    """Have integer buffers that count calls, as batch norm's do, count themselves, as in plain training."""
    for node in [n for n in graph.nodes if n.target is aten.copy_.default]:
        counter, new = node.args[:2]
        while new.target in (aten.expand.default, aten.clone.default) and len(new.users) == 1:  # in torch 2.6
            new = new.args[0]
        if set(counter.users) != {new, node} or len(new.users) != 1 or node.users:
            continue
        if new.target is aten.add.Tensor and new.args == (counter, 1) and not is_continuous(counter.meta["val"]):
            new.target = aten.add_.Tensor
            graph.erase_node(node)


def share_views(graph, inside: frozenset) -> None:
    """Have one view serve every place that takes the same one, as the steps of a recurrent net do of their weights."""
    excluded, first = inside | changing(graph.nodes), {}
    for node in filter(is_view, graph.nodes):
        if not {node, node.args[0]} & excluded:
            known = first.setdefault((node.target, repr(node.args), _is_stopped(node)), node)
            if known is not node:
                node.replace_all_uses_with(known)


def _is_stopped(node) -> bool:
    return bool(node.meta.get("stopped"))


def is_view(node) -> bool:
    """Whether a node may stand between a parameter and its product."""
    if node.target is operator.getitem:
        return is_view(node.args[0])
    return getattr(node.target, "overloadpacket", None) in VIEWS and node.all_input_nodes == [node.args[0]]


def lift_constants(graph) -> None:
    """Have a tensor that the module holds beside its buffers be seen by modes that run the graph, as one made there."""
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
        if "val" not in node.meta:  # in torch 2.6
            node.meta["val"] = getattr(graph.owning_module, node.target)
        with graph.inserting_after(node):
            lifted = graph.call_function(aten.lift_fresh.default)
        node.replace_all_uses_with(lifted)
        lifted.args, lifted.meta = (node,), dict(node.meta)


def find_places(graph) -> None:
    """Have a mask that indexes say once, for both parts of a pair, where it is true."""
    for node in [n for n in graph.nodes if n.target is aten.index.Tensor]:
        with graph.inserting_before(node):
            places = [place for index in node.args[1] for place in _places(graph, index, node.meta)]
        node.args = (node.args[0], places)


def _places(graph, index, meta: dict) -> list:
    mask = None if index is None else index.meta["val"]
    if mask is None or mask.dtype not in (torch.bool, torch.uint8):
        return [index]
    places = call(graph, aten.nonzero.default, (index,), meta)
    return [call(graph, aten.select.int, (places, 1, dim), meta) for dim in range(mask.dim())]


def fold_products(graph, inside: frozenset) -> None:
    """Have a batch that meets one matrix multiply it at once, as torch does where the matrix has a gradient.

    In a trace nothing has one, so there the matrix is repeated for each of the batch.
    """
    for node in [n for n in graph.nodes if n.target is aten.bmm.default and n not in inside]:
        left, right = node.args
        matrix = _repeated(right)
        if matrix is None:
            continue
        (batch, n, _), (k, m) = left.meta["val"].shape, matrix.meta["val"].shape
        with graph.inserting_before(node):
            rows = batch * n if _fixed(batch, n) else -1
            flat = call(graph, aten.reshape.default, (left, [rows, k]), node.meta)
            product = call(graph, aten.mm.default, (flat, matrix), node.meta)
            sizes = [_size(graph, left, dim) for dim in range(2)]
        node.target, node.args = aten.reshape.default, (product, [*sizes, m])


def _repeated(node):
    """The matrix that a batch of matrices is, if it is one expanded."""
    expanded = node.args[0] if node.target is aten.reshape.default else node
    matrix = expanded.args[0] if expanded.target is aten.expand.default else None
    if matrix is None or not _fixed(*matrix.meta["val"].shape):
        return None
    return matrix if matrix.meta["val"].shape == node.meta["val"].shape[1:] else None


def fold_biases(graph, inside: frozenset) -> None:
    """Have a product of matrices add the parameter that is added to each of its rows, in whatever shape they are."""
    excluded = inside | changing(graph.nodes)
    for node in [n for n in graph.nodes if n.target is aten.add.Tensor and not n.kwargs]:
        rows, bias = node.args
        product = rows.args[0] if getattr(rows, "target", None) is aten.reshape.default else rows
        if not _added_to_rows(node, rows, product, bias) or excluded & {node, rows, product, bias}:
            continue
        with graph.inserting_before(product):
            biased = call(graph, aten.addmm.default, (bias, *product.args), product.meta)
        product.replace_all_uses_with(biased)
        node.replace_all_uses_with(rows if rows is not product else biased)


def _added_to_rows(node, rows, product, bias) -> bool:
    if getattr(product, "target", None) is not aten.mm.default or getattr(bias, "op", None) != "placeholder":
        return False
    if set(rows.users) != {node} or (rows is not product and set(product.users) != {rows}):
        return False
    shapes = bias.meta["val"].shape, rows.meta["val"].shape[-1:], product.meta["val"].shape[1:]
    types = {n.meta["val"].dtype for n in (node, product, bias)}
    same = len(types) == 1 == len({_is_stopped(n) for n in (node, rows, product)})
    return same and all(_fixed(*shape) and shape == shapes[0] for shape in shapes)


def fold_transposes(graph, inside: frozenset) -> None:
    """Have a product with a matrix that is transposed, as a linear layer's is, take it as it lies in memory."""
    excluded = inside | changing(graph.nodes)
    for node in [n for n in graph.nodes if n.target in (aten.mm.default, aten.addmm.default) and not n.kwargs]:
        *bias, rows, matrix = node.args
        if matrix.target is not aten.t.default or {node, matrix} & excluded or _is_stopped(matrix) != _is_stopped(node):
            continue
        if all(b.meta["val"].shape == node.meta["val"].shape[1:] for b in bias):
            node.target, node.args = aten.linear.default, (rows, *matrix.args, *bias)
            if not matrix.users:
                graph.erase_node(matrix)


def _fixed(*sizes) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _size(graph, node, dim: int):
    """Of a tensor along one dimension: a number, or the node that tells it."""
    size = node.meta["val"].shape[dim]
    return size if _fixed(size) else call(graph, aten.sym_size.int, (node, dim), node.meta)


def call(graph, operator, args: tuple, meta: dict, kwargs: dict | None = None):
    """A new node, with the ``meta`` of that in whose place it comes."""
    node = graph.call_function(operator, args, kwargs)
    args, kwargs = map_arg((args, kwargs or {}), lambda argument: argument.meta["val"])
    node.meta = meta | {"val": operator(*args, **kwargs)}
    return node
