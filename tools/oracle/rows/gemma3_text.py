"""The rows of the gemma3_text golden table."""

from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized, scaling

BASE = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 24,
    "vocab_size": 128,
    "rms_norm_eps": 1e-3,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "query_pre_attn_scalar": 32,
    "sliding_window": 8,
    "sliding_window_pattern": 2,
    "max_position_embeddings": 128,
    "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh",
    "final_logit_softcapping": None,
}
NO_ROPE = {"rope_theta": ABSENT, "rope_local_base_freq": ABSENT, "rope_scaling": ABSENT}
SMALL = {"num_hidden_layers": 2, "intermediate_size": 64, "head_dim": 16}
TIED = {"head": False}

ROWS = [
    Row("plain", **TIED),
    Row("untied", {"tie_word_embeddings": False}),
    Row(
        "defaults",
        {
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": ABSENT,
            "num_key_value_heads": ABSENT,
            "head_dim": ABSENT,
            "query_pre_attn_scalar": ABSENT,
        },
        "8 heads, 4 of keys, in transformers; 4 and 1 in mlx-lm",
        **TIED,
        **HF_ALONE,
    ),
    Row("eps", {"rms_norm_eps": 0.1}, **TIED),
    Row("local_theta", {"rope_local_base_freq": 500.0}, **TIED),
    Row("theta", {"rope_theta": 500.0}, **TIED),
    Row("pattern_absent", {"sliding_window_pattern": ABSENT, "num_hidden_layers": 7}, **TIED),
    Row(
        "layer_types",
        {"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]},
        "mlx-lm does not read layer_types",
        **TIED,
        **HF,
    ),
    Row(
        "attention_bias",
        {"attention_bias": True},
        "bias on q, k, v and o; mlx-lm does not read the key",
        **TIED,
        **HF_ALONE,
    ),
    Row("hidden_activation", {"hidden_activation": "silu"}, "mlx-lm does not read it", **TIED, **HF),
    Row("softcap", {"final_logit_softcapping": 3.0}, "mlx-lm does not read it", **TIED, **HF),
    scaling("rope_linear", {"rope_type": "linear", "factor": 8.0}, **TIED),
    scaling(
        "rope_yarn_no_original",
        {"rope_type": "yarn", "factor": 4.0},
        "original_max_position_embeddings missing: 4096 in mlx-lm, max_position_embeddings in transformers",
        config={"max_position_embeddings": 32, "rope_theta": 10000.0},
        **TIED,
        **HF,
    ),
    Row(
        "rope_parameters",
        {
            **NO_ROPE,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 5000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        },
        "transformers 5 spelling; not read by mlx-lm",
        **TIED,
        **HF,
    ),
    Row(
        "scale_rounded",
        {"hidden_size": 40},
        "the embeddings' scale is rounded to bfloat16 with the weights",
        dtype="bfloat16",
        readings="near",
        **TIED,
    ),
    Row(
        "scale",
        {"hidden_size": 40},
        "mlx-lm rounds the embeddings' scale to bfloat16 whatever the weights are",
        reference="transformers",
        readings="near",
        **TIED,
    ),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32", **TIED),
    quantized("affine_4_32", 4, 32, "affine", SMALL),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        SMALL,
        note="embed_tokens 8 bits, q_proj 6 bits group 64, down_proj dense (false)",
        per_layer={
            "model.embed_tokens": {"group_size": 64, "bits": 8},
            "model.layers.0.self_attn.q_proj": {"group_size": 64, "bits": 6},
            "model.layers.0.mlp.down_proj": False,
        },
    ),
]

IN_GGUF = {
    "hidden_size": 16,
    "num_hidden_layers": 6,
    "intermediate_size": 32,
    "head_dim": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "query_pre_attn_scalar": 16,
    "sliding_window_pattern": 6,
}
GGUF = [gguf(changes=IN_GGUF, **TIED), gguf("local_theta", {**IN_GGUF, "rope_local_base_freq": 500.0}, **TIED)]
