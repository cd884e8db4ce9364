"""Settings of the whole process, which contexts change and restore."""

import pytest
import torch

from lazytorch.products import tf32

MODERN = hasattr(torch.backends.cuda.matmul, "fp32_precision")
NAME, OFF, ON = ("fp32_precision", "ieee", "tf32") if MODERN else ("allow_tf32", False, True)
CUDNN = torch.backends.cudnn
BACKENDS = (torch.backends.cuda.matmul, *((CUDNN.conv, CUDNN.rnn) if MODERN else (CUDNN,)))


def settings():
    return {getattr(backend, NAME) for backend in BACKENDS}


@pytest.mark.parametrize("first", (0, 1))
def test_threads_that_overlap_leave_what_the_first_found(first):
    """Entered and left as two threads may do it, not one within the other."""
    before, contexts = settings(), [tf32(False), tf32(False)]
    for context in contexts:
        context.__enter__()
    contexts[first].__exit__(None, None, None)
    assert settings() == {OFF}
    contexts[1 - first].__exit__(None, None, None)
    assert settings() == before


def test_contexts_nest():
    before = settings()
    with tf32(True):
        with tf32(False):
            assert settings() == {OFF}
        assert settings() == {ON}
    assert settings() == before
