"""A stand-in accelerator of fake tensors, which have a device and a shape and no values; import it first.

Mixing devices raises, and so does reading a value. It can be registered only once a process, hence scripts of their
own. Exits with 77 if this torch has no such stand-in.
"""

import json
import os
import sys

import torch

DEVICE = "fakeacc"

try:
    import torch.utils.backend_registration as registration
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Backend(registration._DummyBackendModule):
        def is_available(self):
            return False  # True makes fake tensors try a real device

        def is_initialized(self):
            return False

    registration._setup_privateuseone_for_python_backend(DEVICE, backend_module=Backend())
except (ImportError, AttributeError) as error:
    print(f"no stand-in accelerator in torch {torch.__version__}: {error}")
    sys.exit(77)


def leave_with(result):
    """Print the result as JSON and end at once: a backward pass leaves a thread that can abort an ordinary exit."""
    print(json.dumps(result), flush=True)
    os._exit(0)


__all__ = ["DEVICE", "FakeTensorMode", "leave_with"]
