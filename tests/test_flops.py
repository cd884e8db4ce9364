"""What a training step costs in operations, on a stand-in accelerator: no clock, no machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_a_step_costs_five_thirds_of_a_plain_one_and_less_at_small_alpha_and_in_company():
    script = Path(__file__).with_name("stand_in_flops.py")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    if result.returncode == 77:
        pytest.skip(result.stdout.strip())
    assert result.returncode == 0, result.stderr
    networks = json.loads(result.stdout)
    assert networks.keys() == {"vgg11", "resnet18"}
    for ratios in networks.values():
        assert ratios["1"] == pytest.approx(4 / 3, rel=0.05)
        for alpha in ("100", "1e+07", "inf"):
            assert ratios[alpha] == pytest.approx(5 / 3, rel=0.05)
        assert ratios["8 alphas, each"] == pytest.approx(32 / 24, rel=0.05)
