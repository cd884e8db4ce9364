"""Segmentation networks with a small encoder."""

import segmentation_models_pytorch as s
import torch


def images(name):
    def build():
        net = getattr(s, name)(encoder_name="resnet18", encoder_weights=None, classes=3)
        return net, (torch.randn(2, 3, 32, 32),), {}

    return "net(images)", build


MODELS = {name: images(name) for name in ("Unet", "UnetPlusPlus", "FPN", "Linknet", "MAnet", "DeepLabV3Plus")}
