"""What a trace refuses, and how it says where and what to do."""

import copy
import traceback
from contextlib import contextmanager

import torch
import torch.utils._pytree as pytree

from ..functional import call
from .decisions import where
from .pair import UnsupportedOperator

TENSORS = 'move it into tensor operations (torch.where), or wrap with difference="direct" in float64'
REMEDY = 'use detach(), or wrap with difference="direct" in float64'


class UntraceableModule(RuntimeError):
    """The module's Python code depends on the values of its tensors, so it has no trace."""


@contextmanager
def refusals(module, running: list[str], run_once):
    """Makes an error inside a refusal that says where and what to do, unless the module itself does not run."""
    try:
        yield
    except (UntraceableModule, UnsupportedOperator):
        raise
    except Exception as error:
        if _is_data_dependent(error):
            place = where(traceback.extract_tb(error.__traceback__))
            raise UntraceableModule(
                f"module '{running[-1] if running else '(root)'}' of {type(module).__name__} takes Python decisions on "
                f"tensor values ({place}; {_first_line(error)}): {TENSORS}"
            ) from error
        run_once()
        raise UntraceableModule(
            f"{type(module).__name__} runs but cannot be traced ({type(error).__name__}: {_first_line(error)}): "
            f'wrap with difference="direct" in float64'
        ) from error


#: What torch raises when Python asks for a value that a trace does not have.
DATA_DEPENDENT = {"DataDependentOutputException", "DynamicOutputShapeException", "GuardOnDataDependentSymNode"}


def _is_data_dependent(error) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & DATA_DEPENDENT) or (isinstance(error, RuntimeError) and "tracing tensor" in str(error))


def _first_line(error) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


@torch.no_grad()
def run_once(module, tensors, args, kwargs) -> None:
    """Raise what the module itself raises, as on inputs of a wrong shape."""
    tensors, args, kwargs = pytree.tree_map_only(torch.Tensor, torch.clone, (tensors, args, kwargs))
    with torch.random.fork_rng([]):
        call(copy.deepcopy(module), tensors, args, kwargs)
