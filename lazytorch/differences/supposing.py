"""Python decisions on whether theta selects anything, as on whether an expert has rows: supposed to say yes.

That is right where what is skipped otherwise comes to nothing, see :mod:`.trial`.
"""

import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._python_dispatch import _disable_current_modes

from .decisions import Decisions, frame_of_module, node_of
from .lists import length_of, listed, size_of_list

aten = torch.ops.aten

#: By what Python takes the decision.
ASKING = (Tensor.__bool__, torch.is_nonzero, Tensor.is_nonzero)
#: By what Python iterates.
UNBINDING = (Tensor.unbind, torch.unbind)
#: What gives a list.
LISTING = {
    *(torch.where, torch.nonzero, Tensor.nonzero, torch.argwhere, Tensor.argwhere, Tensor.__getitem__),
    *(torch.masked_select, Tensor.masked_select),
}
COUNTS = (aten.sum, aten.count_nonzero)
#: Comparison of a count -> with what, and the answer.
COMPARISONS = {aten.gt: (0, True), aten.ne: (0, True), aten.ge: (1, True), aten.eq: (0, False), aten.le: (0, False)}
COMPARISONS[aten.lt] = (1, False)
#: Of a list.
RESHAPING = (aten.reshape, aten.view, aten.squeeze, aten.select, aten.unbind)
NEGATIONS = (aten.logical_not, aten.bitwise_not)


#: How often one place in a running module may suppose something, as for each expert; `while` would for ever.
MOST = 1024


class EndlessLoop(Exception):
    """What is supposed lets a loop of the module go on for ever."""


class Suppositions:
    """What one trace supposes: of its nodes, with a test of their values, and of the lengths of its lists."""

    def __init__(self, decisions: Decisions, length: int):
        """Nothing is supposed if ``length``, which Python is told that every list has, is 0."""
        self._decisions, self._active, self._length = decisions, length > 0, length
        self.tell_length = False
        self._conditions: dict[fx.Node, Callable[[Tensor], Any]] = {}
        self._lengths: set = set()
        self._places: Counter = Counter()

    def __bool__(self) -> bool:
        """Whether anything is supposed."""
        return bool(self._conditions or self._lengths)

    def concern(self, node: Any) -> bool:
        """Whether something is supposed of the node, or of the length of the list that it makes."""
        makes_list = node.target in (aten.nonzero.default, aten.index.Tensor)
        return node in self._conditions or (makes_list and length_of(node.meta["val"]) in self._lengths)

    def test_of(self, node: Any) -> Callable[[Tensor], Any] | None:
        """Whether a value of the node is as supposed, if something is; of a list, of the mask that it is made by."""
        if node.target is listed and length_of(node.meta["val"][0]) in self._lengths:
            return torch.any
        return self._conditions.get(node)

    def answer(self, function: Callable, args: tuple) -> Any:
        """What is supposed that a function which reads values gives; None if nothing is."""
        if not self._active or not self._decisions.depend_on_weights(args[0]):
            return None
        if function is Tensor.tolist:
            every = self._elements(args[0])
            return None if every is None else every.tolist()
        answer = _answer(node := node_of(args[0])) if function in ASKING else None
        if answer is not None:
            self._count()
            self._conditions[node] = bool if answer else operator.not_
        return answer

    def call(self, function: Callable, args: tuple, kwargs: dict) -> Any:
        """The function's result, which has elements if it is a list, but not if it is one of what a list holds."""
        if self._active and function in UNBINDING and args[1:] in ((), (0,)) and not kwargs:
            every = self._elements(args[0])
            if every is not None:
                return torch.arange(len(every)).view(every.shape).unbind()
        if self._active and function is Tensor.__len__ and length_of(args[0]) in self._lengths:
            self.tell_length = True
            return self._length
        result = function(*args, **kwargs)
        if self._active and function in LISTING and length_of(args[0]) not in self._lengths:
            for tensor in result if isinstance(result, (tuple, list)) else (result,):
                if self._is_list(tensor):
                    self._count()
                    torch._check(size_of_list(tensor) > 0)
                    self._lengths.add(length_of(tensor))
        return result

    def _count(self) -> None:
        """Once more at this place of the module's code.

        Raises:
            EndlessLoop: it has been too often.
        """
        frame = frame_of_module()
        place = id(frame), frame.f_lasti
        self._places[place] += 1
        if self._places[place] > MOST:
            raise EndlessLoop(f"a loop of more than {MOST} rounds")

    def _is_list(self, tensor: Tensor) -> bool:
        return size_of_list(tensor) is not None and self._decisions.depend_on_weights(tensor)

    def _elements(self, tensor: Tensor) -> Tensor | None:
        """Of a list of places along one dimension, if the tensor is one: all that there are."""
        if not self._is_list(tensor):
            return None
        node = node_of(tensor)
        while node.target is operator.getitem or getattr(node.target, "overloadpacket", None) in RESHAPING:
            node = node.args[0]
        if node.target is not aten.nonzero.default or node.args[0].meta["val"].dim() != 1:
            return None
        self._conditions[node.args[0]] = torch.all
        self._lengths.discard(length_of(tensor))
        with _disable_current_modes():
            return torch.arange(node.args[0].meta["val"].shape[0]).view(-1, *tensor.shape[1:])


def _answer(node: Any) -> bool | None:
    packet = getattr(node.target, "overloadpacket", None)
    if packet is aten.any or _is_count(node):
        return True
    if packet in NEGATIONS:
        answer = _answer(node.args[0])
        return None if answer is None else not answer
    if packet in COMPARISONS and _is_count(node.args[0]) and node.args[1] == COMPARISONS[packet][0]:
        return COMPARISONS[packet][1]
    return None


def _is_count(node: Any) -> bool:
    packet = getattr(node.target, "overloadpacket", None)
    return packet in COUNTS and node.args[0].meta["val"].dtype == torch.bool
