"""What the wrapped model promises beside its outputs: quiet warnings, a checked alpha, and the meaning of theta."""

import subprocess
import sys

import pytest

FIRST_CALLS = {
    "linearize": "lazytorch.linearize(net)(x)",
    "an operator without rule": "lazytorch.CenteredModel(Odd(3, 2), torch.inf)(x)",
}


@pytest.mark.parametrize("what", FIRST_CALLS)
def test_a_first_call_warns_of_nothing(what):
    script = f"""
import torch, lazytorch
class Odd(torch.nn.Linear):
    def forward(self, x):
        return torch.lgamma(super().forward(x))
net, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
{FIRST_CALLS[what]}
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
