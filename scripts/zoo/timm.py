"""Image models of timm."""

import timm
import torch


def images(name, size=32, **options):
    return lambda: (timm.create_model(name, num_classes=10, **options), (torch.randn(2, 3, size, size),), {})


TINY_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
MODELS = {
    name: ("net(images)", builder)
    for name, builder in {
        "vit": images("vit_tiny_patch16_224", **TINY_VIT),
        "deit distilled": images("deit_tiny_distilled_patch16_224", **TINY_VIT),
        "beit": images("beit_base_patch16_224", **TINY_VIT),
        "eva02": images("eva02_tiny_patch14_224", **TINY_VIT),
        "cait": images("cait_xxs24_224", **TINY_VIT),
        "mixer": images("mixer_s32_224", 64, img_size=64),
        "convnext": images("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 16, 32, 64)),
        "efficientnet": images("efficientnet_lite0"),
        "mobilenetv4": images("mobilenetv4_conv_small"),
        "regnet": images("regnety_002"),
        "resnest": images("resnest14d"),
        "ghostnet": images("ghostnet_050"),
        "poolformer": images("poolformer_s12"),
        "swinv2": images(
            "swinv2_tiny_window8_256", img_size=32, window_size=4, embed_dim=16, depths=(1, 1), num_heads=(2, 4)
        ),
        "nf_resnet": images("nf_resnet26"),
        "fastvit": images("fastvit_t8", 64),
    }.items()
}
