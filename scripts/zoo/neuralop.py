"""Neural operators."""

import torch
from neuralop import models as n


def fields(make):
    return "net(x)", lambda: (make(), (torch.randn(2, 1, 16, 16),), {})


SIZES = {"in_channels": 1, "out_channels": 1, "hidden_channels": 8, "n_layers": 2}
MODELS = {
    "FNO": fields(lambda: n.FNO((4, 4), **SIZES)),
    "TFNO": fields(lambda: n.TFNO((4, 4), rank=0.5, **SIZES)),
    "UNO": fields(
        lambda: n.UNO(
            1,
            1,
            8,
            n_layers=3,
            uno_out_channels=[8] * 3,
            uno_n_modes=[[4, 4]] * 3,
            uno_scalings=[[1.0, 1.0], [0.5, 0.5], [2.0, 2.0]],
            channel_mlp_skip="linear",
        )
    ),
}
