"""Transformers of x-transformers, with some of its options."""

import torch
from x_transformers import ContinuousTransformerWrapper, Decoder, Encoder, TransformerWrapper, XTransformer

SIZES = {"dim": 32, "depth": 2, "heads": 4, "attn_dim_head": 8}


def ids():
    return torch.randint(0, 100, (2, 12))


def decoder(**options):
    def build():
        return TransformerWrapper(num_tokens=100, max_seq_len=16, attn_layers=Decoder(**SIZES, **options)), (ids(),), {}

    return "net(ids)", build


def encoder():
    net = TransformerWrapper(num_tokens=100, max_seq_len=16, attn_layers=Encoder(**SIZES))
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, 9:] = False
    return net, (ids(),), {"mask": mask}


def series():
    net = ContinuousTransformerWrapper(dim_in=3, dim_out=3, max_seq_len=16, attn_layers=Encoder(**SIZES))
    return net, (torch.randn(2, 12, 3),), {}


def both():
    sides = {
        f"{side}_{name}": n
        for side in ("enc", "dec")
        for name, n in (("num_tokens", 100), ("depth", 1), ("heads", 4), ("max_seq_len", 16))
    }
    return XTransformer(dim=32, **sides), (ids(), ids()), {}


MODELS = {
    "Decoder": decoder(),
    "Decoder, rotary, GLU, RMSNorm": decoder(rotary_pos_emb=True, ff_glu=True, ff_swish=True, use_rmsnorm=True),
    "Decoder, ALiBi, ReLU squared": decoder(alibi_pos_bias=True, ff_relu_squared=True),
    "Decoder, T5 bias, talking heads": decoder(rel_pos_bias=True, attn_pre_talking_heads=True),
    "Decoder, normalised queries and keys": decoder(attn_qk_norm=True, sandwich_norm=True),
    "Decoder, sparse top 4": decoder(attn_sparse_topk=4),
    "Encoder": ("net(ids, mask=)", encoder),
    "ContinuousTransformerWrapper": ("net(series)", series),
    "XTransformer": ("net(source, target)", both),
}
