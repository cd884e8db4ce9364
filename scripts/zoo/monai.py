"""Medical image networks of monai."""

import torch
from monai.networks import nets as n


def volumes(make, *size):
    return "net(images)", lambda: (make(), (torch.randn(2, 1, *size),), {})


UNET = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": (4, 8, 16), "strides": (2, 2)}
MODELS = {
    "UNet": volumes(lambda: n.UNet(num_res_units=1, **UNET), 16, 16, 16),
    "AttentionUnet": volumes(lambda: n.AttentionUnet(**UNET), 16, 16, 16),
    "SegResNet": volumes(lambda: n.SegResNet(3, 8, blocks_down=(1, 1), blocks_up=(1,)), 16, 16, 16),
    "BasicUNet": volumes(lambda: n.BasicUNet(2, 1, 2, (4, 4, 8, 8, 16, 4)), 32, 32),
    "UNETR": volumes(
        lambda: n.UNETR(1, 2, (16, 16, 16), feature_size=4, hidden_size=24, mlp_dim=32, num_heads=4), 16, 16, 16
    ),
    "DynUNet": volumes(lambda: n.DynUNet(2, 1, 2, (3, 3, 3), (1, 2, 2), (2, 2), filters=(4, 8, 16)), 32, 32),
    "SwinUNETR": volumes(
        lambda: n.SwinUNETR(1, 2, depths=(1, 1, 1, 1), num_heads=(1, 2, 4, 8), feature_size=12, spatial_dims=2), 32, 32
    ),
}
