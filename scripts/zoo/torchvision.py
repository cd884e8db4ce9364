"""Classifiers, segmentation and video networks of torchvision."""

import torch
import torchvision.models as m


def images(function, size=32, **options):
    return lambda: (function(weights=None, **options), (torch.randn(2, 3, size, size),), {})


MODELS = {
    "resnet18": ("net(images)", images(m.resnet18)),
    "densenet121": ("net(images)", images(m.densenet121)),
    "mobilenet_v3_small": ("net(images)", images(m.mobilenet_v3_small)),
    "shufflenet_v2_x0_5": ("net(images)", images(m.shufflenet_v2_x0_5)),
    "squeezenet1_1": ("net(images)", images(m.squeezenet1_1, 64)),
    "vit_b_16 structure": (
        "net(images)",
        lambda: (m.VisionTransformer(32, 8, 2, 4, 32, 64), (torch.randn(2, 3, 32, 32),), {}),
    ),
    "SwinTransformer": (
        "net(images)",
        lambda: (
            m.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=10),
            (torch.randn(2, 3, 32, 32),),
            {},
        ),
    ),
    "lraspp_mobilenet_v3_large": (
        "net(images)",
        images(m.segmentation.lraspp_mobilenet_v3_large, weights_backbone=None),
    ),
    "r3d_18": (
        "net(videos)",
        lambda: (m.video.r3d_18(weights=None), (torch.randn(2, 3, 4, 16, 16),), {}),
    ),
}
