"""Denoisers and autoencoders of diffusers."""

import diffusers as d
import torch

BLOCKS = {"block_out_channels": (16, 32), "norm_num_groups": 8, "layers_per_block": 1}
DOWN, UP = ("DownBlock2D", "AttnDownBlock2D"), ("AttnUpBlock2D", "UpBlock2D")
CROSS = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 16,
    "attention_head_dim": 4,
}


def steps():
    return torch.tensor([3, 700])


def unet():
    net = d.UNet2DModel(16, 3, 3, down_block_types=DOWN, up_block_types=UP, attention_head_dim=4, **BLOCKS)
    return net, (), {"sample": torch.randn(2, 3, 16, 16), "timestep": steps()}


def unet_condition():
    net = d.UNet2DConditionModel(16, 3, 3, **CROSS, **BLOCKS)
    sample, states = torch.randn(2, 3, 16, 16), torch.randn(2, 5, 16)
    return net, (), {"sample": sample, "timestep": steps(), "encoder_hidden_states": states}


def autoencoder():
    down, up = ("DownEncoderBlock2D",) * 2, ("UpDecoderBlock2D",) * 2
    net = d.AutoencoderKL(3, 3, down, up, latent_channels=4, **BLOCKS)
    return net, (), {"sample": torch.randn(2, 3, 16, 16)}


def transformer():
    net = d.DiTTransformer2DModel(4, 8, 4, num_layers=2, sample_size=8, norm_num_groups=8, num_embeds_ada_norm=1000)
    inputs = {"hidden_states": torch.randn(2, 4, 8, 8), "timestep": steps(), "class_labels": torch.tensor([1, 2])}
    return net, (), inputs


def transformer_sd3():
    net = d.SD3Transformer2DModel(
        8, 2, 4, 2, 8, 4, joint_attention_dim=16, caption_projection_dim=32, pooled_projection_dim=16, out_channels=4
    )
    states, pooled = torch.randn(2, 5, 16), torch.randn(2, 16)
    inputs = {"hidden_states": torch.randn(2, 4, 8, 8), "encoder_hidden_states": states, "pooled_projections": pooled}
    return net, (), inputs | {"timestep": steps()}


MODELS = {
    "UNet2DModel": ("net(sample=, timestep=)", unet),
    "UNet2DConditionModel": ("net(sample=, timestep=, encoder_hidden_states=)", unet_condition),
    "AutoencoderKL": ("net(sample=)", autoencoder),
    "DiTTransformer2DModel": ("net(hidden_states=, timestep=, class_labels=)", transformer),
    "SD3Transformer2DModel": (
        "net(hidden_states=, encoder_hidden_states=, pooled_projections=, timestep=)",
        transformer_sd3,
    ),
}
