"""What is changed in a traced graph, so that differences can go through it, and as cheaply as in plain training."""

import torch

aten = torch.ops.aten

#: Operators that ask for strides, which a difference may not have (a broadcast parameter's, for one), and their like.
STRIDED = {aten.view.default: aten.reshape.default, aten._unsafe_view.default: aten.reshape.default}


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


def lift_constants(graph) -> None:
    """Have a tensor that the module holds beside its buffers be seen by modes that run the graph, as one made there."""
    for node in [n for n in graph.nodes if n.op == "get_attr"]:
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
    places = _call(graph, aten.nonzero.default, (index,), meta)
    return [_call(graph, aten.select.int, (places, 1, dim), meta) for dim in range(mask.dim())]


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
            flat = _call(graph, aten.reshape.default, (left, [rows, k]), node.meta)
            product = _call(graph, aten.mm.default, (flat, matrix), node.meta)
            sizes = [_size(graph, left, dim) for dim in range(2)]
        node.target, node.args = aten.reshape.default, (product, [*sizes, m])


def _repeated(node):
    """The matrix that a batch of matrices is, if it is one expanded."""
    expanded = node.args[0] if node.target is aten.reshape.default else node
    matrix = expanded.args[0] if expanded.target is aten.expand.default else None
    if matrix is None or not _fixed(*matrix.meta["val"].shape):
        return None
    return matrix if matrix.meta["val"].shape == node.meta["val"].shape[1:] else None


def _fixed(*sizes) -> bool:
    return all(isinstance(size, int) for size in sizes)


def _size(graph, node, dim: int):
    """Of a tensor along one dimension: a number, or the node that tells it."""
    size = node.meta["val"].shape[dim]
    return size if _fixed(size) else _call(graph, aten.sym_size.int, (node, dim), node.meta)


def _call(graph, operator, args: tuple, meta: dict):
    node = graph.call_function(operator, args)
    values = [argument.meta["val"] if isinstance(argument, torch.fx.Node) else argument for argument in args]
    node.meta = meta | {"val": operator(*values)}
    return node
