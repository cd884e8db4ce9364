"""Language models as their users call them, where the package transformers is installed."""

import math

import pytest
import torch
import torch.utils._pytree as pytree
from torch import nn

import lazytorch as lt

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
}
GROUPED = SIZES | {"num_key_value_heads": 2}
EXPERTS = {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
MODELS = {
    "Albert": SIZES | {"embedding_size": 16},
    "Bart": {"d_model": 32, "vocab_size": 100, "encoder_layers": 2, "decoder_layers": 2}
    | {f"{part}_{name}": n for part in ("encoder", "decoder") for name, n in (("attention_heads", 4), ("ffn_dim", 64))},
    "Bert": SIZES,
    "DebertaV2": SIZES,
    "DistilBert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 100},
    "Electra": SIZES | {"embedding_size": 32},
    "Gemma2": GROUPED | {"head_dim": 8},
    "GPT2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100},
    "GPTNeoX": SIZES,
    "Llama": GROUPED,
    "Longformer": SIZES | {"attention_window": 4, "pad_token_id": 1},
    "Mistral": GROUPED,
    "Mixtral": GROUPED | {"num_local_experts": 4},
    "ModernBert": SIZES
    | dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 1),
    "OPT": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "vocab_size": 100}
    | {"word_embed_proj_dim": 32},
    "Phi": SIZES,
    "Qwen2": GROUPED,
    "Qwen2Moe": GROUPED | EXPERTS,
    "Roberta": SIZES,
    "T5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100},
}


def build(name):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**MODELS[name])
    return getattr(transformers, f"{name}Model")(config).eval()


def values(outputs):
    """All floating numbers of the outputs."""
    found = [t for t in pytree.tree_leaves(dict(outputs)) if isinstance(t, torch.Tensor) and t.is_floating_point()]
    return torch.cat([t.flatten() for t in found])


@pytest.mark.parametrize("padded", (False, True))
@pytest.mark.parametrize("name", MODELS)
def test_language_models_as_they_are_called(name, padded):
    net, alpha = build(name), 100.0
    ids = torch.randint(5, 100, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, 5:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask} | ({"decoder_input_ids": ids[:, :4]} if name == "T5" else {})
    model = lt.CenteredModel(net, alpha)
    generator = torch.Generator().manual_seed(2)
    for theta in model.theta.values():
        nn.init.normal_(theta, 0, 0.3, generator=generator)
    output = values(model(**inputs))
    start, end = net.double(), model.to_module(torch.float64)
    for each in (start, end):
        if hasattr(each, "set_experts_implementation"):  # the fast one is in float32 alone
            each.set_experts_implementation("eager")
    with torch.no_grad():
        expected = alpha * (values(end(**inputs)) - values(start(**inputs)))
    assert (output.double() - expected).norm() <= 1e-5 * expected.norm()
    model.alpha = math.inf
    output = values(model(**inputs))
    output.square().sum().backward()
    assert output.isfinite().all() and all(t.grad is None or t.grad.isfinite().all() for t in model.theta.values())
