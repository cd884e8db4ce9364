"""One operation on many tensors at once, which a GPU does in one launch where it would take one for each."""

import torch

from ..transforms import active


def each(name: str, *lists, **settings):
    """The method ``name`` of every tensor of the first list with the others' elements: torch's ``_foreach_name``.

    It returns what that does; under a transform, which has no such operators, it is done one by one.
    """
    if active():
        return [getattr(t, name)(*others, **settings) for t, *others in zip(*lists, strict=True)]
    return getattr(torch, f"_foreach_{name}")(*lists, **settings)
