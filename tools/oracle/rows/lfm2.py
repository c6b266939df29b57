"""The rows of the lfm2 golden table."""

from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized

BASE = {
    "architectures": ["Lfm2ForCausalLM"],
    "model_type": "lfm2",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "block_dim": 32,
    "block_ff_dim": 60,
    "block_multiple_of": 8,
    "block_ffn_dim_multiplier": 1.0,
    "block_auto_adjust_ff_dim": True,
    "conv_L_cache": 3,
    "conv_bias": False,
    "norm_eps": 1e-3,
    "rope_theta": 1000000.0,
    "max_position_embeddings": 128,
    "full_attn_idxs": [1],
}
TYPES = ["full_attention", "conv", "conv"]
TIED = {"head": False}

ROWS = [
    Row("plain", **TIED),
    Row("wide_heads", {"num_attention_heads": 1, "num_key_value_heads": 1}, "caches of these can be packed", head=False),
    Row("not_adjusted", {"block_auto_adjust_ff_dim": False}, **TIED),
    Row("multiplier", {"block_ffn_dim_multiplier": 1.3}, **TIED),
    Row("conv_bias", {"conv_bias": True}, **TIED),
    Row("conv_4", {"conv_L_cache": 4}, **TIED),
    Row("eps", {"norm_eps": 0.1}, **TIED),
    Row("rope_theta", {"rope_theta": 500.0}, **TIED),
    Row(
        "rope_parameters",
        {"rope_theta": ABSENT, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        **TIED,
    ),
    Row(
        "rope_yarn_no_original",
        {
            "rope_theta": ABSENT,
            "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 20.0},
            "max_position_embeddings": 32,
        },
        "mlx-lm's lfm2 does not scale",
        **TIED,
        **HF,
    ),
    Row("head_dim", {"head_dim": 12}, "mlx-lm's lfm2 does not read head_dim", **TIED, **HF_ALONE),
    Row("layer_types", {"layer_types": TYPES, "full_attn_idxs": ABSENT}, **TIED),
    Row("layer_types_first", {"layer_types": TYPES}, "full_attn_idxs wins in mlx-lm", **TIED, **HF_ALONE),
    Row(
        "intermediate_size",
        {"block_ff_dim": ABSENT, "intermediate_size": 72, "block_dim": ABSENT},
        "mlx-lm requires block_dim",
        **TIED,
        **HF_ALONE,
    ),
    Row("untied", {"tie_word_embeddings": False}, "mlx-lm's lfm2 is always tied", **HF_ALONE),
    Row(
        "tie_embedding",
        {"tie_embedding": False, "tie_word_embeddings": True},
        "the older key wins; mlx-lm's lfm2 is always tied",
        **HF_ALONE,
    ),
    Row("all_attention", {"full_attn_idxs": ABSENT, "num_hidden_layers": 2}, "mlx-lm needs a list", **TIED, **HF_ALONE),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32", **TIED),
    Row("converted", dtype="float16", converted=True, **TIED),
    quantized("affine_4_32", 4, 32, "affine", {"block_ff_dim": 96, "block_multiple_of": 32}, converted=True),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        {"block_ff_dim": 96, "block_multiple_of": 32},
        note="an in_proj 8 bits, a q_proj 6 bits, a w2 dense (false)",
        converted=True,
        per_layer={
            "model.layers.0.conv.in_proj": {"group_size": 32, "bits": 8},
            "model.layers.1.self_attn.q_proj": {"group_size": 32, "bits": 6},
            "model.layers.1.feed_forward.w2": False,
        },
    ),
]

GGUF = [
    gguf(changes={"layer_types": ["conv", "full_attention", "conv"]}, **TIED),
    gguf("conv_4", {"layer_types": ["conv", "full_attention", "conv"], "conv_L_cache": 4, "rope_theta": 500.0}, **TIED),
]
