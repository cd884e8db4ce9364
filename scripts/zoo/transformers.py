"""Models of transformers, with a padded mask where they read text."""

import torch
import transformers


def ids(length=7):
    return torch.randint(5, 100, (2, length))


def mask(length=7):
    kept = torch.ones(2, length, dtype=torch.long)
    kept[1, length - 2 :] = 0
    return kept


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = SIZES | {"vocab_size": 100, "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1}
GROUPED = TEXT | {"num_key_value_heads": 2, "head_dim": 8}
IMAGES = SIZES | {"image_size": 32, "patch_size": 8}
AUDIO = SIZES | {"conv_dim": (8, 8), "conv_stride": (4, 4), "conv_kernel": (8, 4), "num_feat_extract_layers": 2}
AUDIO |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "vocab_size": 32}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "vocab_size": 100}


def model(name, sizes, head="Model", **inputs):
    def build():
        config = getattr(transformers, f"{name}Config")(**sizes)
        return getattr(transformers, name + head)(config), (), {k: make() for k, make in inputs.items()}

    return build


def text(name, sizes, head="Model", **more):
    inputs = {"input_ids": ids, "attention_mask": mask} | more
    return f"net({', '.join(f'{key}=' for key in inputs)})", model(name, sizes, head, **inputs)


def pixels(name, sizes, head="Model"):
    return "net(pixel_values=)", model(name, sizes, head, pixel_values=lambda: torch.randn(2, 3, 32, 32))


def waves(name, sizes, head="Model"):
    return "net(input_values=)", model(name, sizes, head, input_values=lambda: torch.randn(2, 400))


MODELS = {
    "BertForSequenceClassification": text("Bert", TEXT, "ForSequenceClassification"),
    "GPT2LMHead": text("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}, "LMHeadModel"),
    "GPT2LMHead with labels": text(
        "GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}, "LMHeadModel", labels=ids
    ),
    "LlamaForCausalLM": text("Llama", GROUPED, "ForCausalLM"),
    "Qwen3ForCausalLM": text("Qwen3", GROUPED, "ForCausalLM"),
    "Gemma3ForCausalLM": text("Gemma3Text", GROUPED, "Model"),
    "MixtralForCausalLM": text("Mixtral", GROUPED | {"num_local_experts": 4}, "ForCausalLM"),
    "Bloom": text("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 100}),
    "Falcon": text("Falcon", TEXT),
    "Mamba": text("Mamba", MAMBA),
    "Mamba2": text("Mamba2", MAMBA | {"num_heads": 8, "head_dim": 8, "n_groups": 1, "chunk_size": 4}),
    "Rwkv": text("Rwkv", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 100, "context_length": 16}),
    "T5": text(
        "T5",
        {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100},
        decoder_input_ids=ids,
    ),
    "FNet": ("net(input_ids=)", model("FNet", TEXT, input_ids=ids)),
    "Funnel": text(
        "Funnel", {"block_sizes": [1, 1], "d_model": 32, "n_head": 4, "d_head": 8, "d_inner": 64, "vocab_size": 100}
    ),
    "XLNet": text("XLNet", {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "vocab_size": 100}),
    "BigBird": text("BigBird", TEXT),
    "DebertaV2": text("DebertaV2", TEXT | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "ViTForImageClassification": pixels("ViT", IMAGES, "ForImageClassification"),
    "Dinov2": pixels("Dinov2", IMAGES),
    "Beit": pixels("Beit", IMAGES),
    "ConvNextV2": pixels("ConvNextV2", {"hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}),
    "Segformer": pixels(
        "Segformer",
        {"hidden_sizes": [8, 16, 32, 64], "depths": [1] * 4, "num_attention_heads": [1, 2, 4, 8]},
        "ForSemanticSegmentation",
    ),
    "SiglipVision": pixels("SiglipVision", IMAGES),
    "Clip": text(
        "CLIP",
        {"text_config": TEXT | {"eos_token_id": 2}, "vision_config": IMAGES, "projection_dim": 16},
        pixel_values=lambda: torch.randn(2, 3, 32, 32),
    ),
    "Wav2Vec2": waves("Wav2Vec2", AUDIO),
    "Hubert": waves("Hubert", AUDIO),
    "TimeSeriesTransformer": (
        "net(past_values=, past_time_features=, past_observed_mask=, ...)",
        model(
            "TimeSeriesTransformer",
            {
                "prediction_length": 4,
                "context_length": 8,
                "lags_sequence": [1, 2],
                "num_time_features": 1,
                "d_model": 16,
            },
            past_values=lambda: torch.randn(2, 10),
            past_time_features=lambda: torch.randn(2, 10, 1),
            past_observed_mask=lambda: torch.ones(2, 10),
            future_values=lambda: torch.randn(2, 4),
            future_time_features=lambda: torch.randn(2, 4, 1),
        ),
    ),
}
