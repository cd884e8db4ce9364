import subprocess
import sys
from pathlib import Path

import lazytorch

SCRIPT = """
import importlib, sys, types
import torch
package = types.ModuleType("lazytorch")  # in place of the whole package, which imports more
package.__path__ = [sys.argv[1]]
sys.modules["lazytorch"] = package
before = set(sys.modules)
for room in sys.argv[2:]:
    importlib.import_module(room)
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - {"lazytorch"} - set(sys.stdlib_module_names)))
"""


def test_data_and_models_load_torch_alone():
    rooms = ["lazytorch.data", "lazytorch.models"]
    command = [sys.executable, "-c", SCRIPT, str(Path(lazytorch.__file__).parent), *rooms]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
