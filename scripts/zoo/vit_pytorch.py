"""Image models of vit-pytorch."""

import importlib

import torch


def images(module, name, **options):
    def build():
        return (
            getattr(importlib.import_module(f"vit_pytorch.{module}"), name)(**options),
            (torch.randn(2, 3, 32, 32),),
            {},
        )

    return "net(images)", build


SIZES = {"image_size": 32, "patch_size": 8, "num_classes": 10, "dim": 32, "depth": 2, "heads": 4, "mlp_dim": 64}
MODELS = {
    "ViT": images("vit", "ViT", **SIZES),
    "SimpleViT": images("simple_vit", "SimpleViT", **SIZES),
    "DeepViT": images("deepvit", "DeepViT", **SIZES),
    "CaiT": images("cait", "CaiT", cls_depth=1, **SIZES),
    "ViT for small datasets": images("vit_for_small_dataset", "ViT", **SIZES),
    "Normalized ViT": images("normalized_vit", "nViT", **SIZES),
    "CCT": images(
        "cct",
        "CCT",
        img_size=32,
        embedding_dim=32,
        n_conv_layers=1,
        kernel_size=3,
        stride=2,
        padding=1,
        num_layers=2,
        num_heads=4,
        mlp_ratio=2.0,
        num_classes=10,
        positional_embedding="learnable",
    ),
    "LeViT": images(
        "levit",
        "LeViT",
        image_size=32,
        num_classes=10,
        stages=2,
        dim=(16, 32),
        depth=1,
        heads=2,
        mlp_mult=2,
        dropout=0.0,
    ),
}
