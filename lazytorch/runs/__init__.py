"""Run directories: what identifies a run, and how its records are written and read.

Nothing else passes between a run and its report.
"""

from .directory import RunDirectory
from .finding import find, locate
from .identity import canonical, identity, read_alpha
from .labels import label, spell_float
from .lock import Locked
from .records import to_json
from .tables import as_read
from .writing import write_atomically

__all__ = [
    "Locked",
    "RunDirectory",
    "as_read",
    "canonical",
    "find",
    "identity",
    "label",
    "locate",
    "read_alpha",
    "spell_float",
    "to_json",
    "write_atomically",
]
