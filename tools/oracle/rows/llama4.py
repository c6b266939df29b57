"""The rows of the llama4 golden table."""

from .row import HF, HF_ALONE, Row, gguf, quantized, yarn_without_length

OUTER = {"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4"}
BASE = {
    "model_type": "llama4_text",
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "intermediate_size": 32,
    "intermediate_size_mlp": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 128,
    "num_local_experts": 4,
    "num_experts_per_tok": 1,
    "interleave_moe_layer_step": 2,
    "attention_chunk_size": 8,
    "use_qk_norm": True,
    "attn_temperature_tuning": True,
    "floor_scale": 8,
    "attn_scale": 0.5,
    "attention_bias": False,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def disk_name(name):
    return "language_model." + name


ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("no_qk_norm", {"use_qk_norm": False}),
    Row("eps", {"rms_norm_eps": 0.1}, "mlx-lm's norms of q and k have an eps of their own", **HF),
    Row("not_tuned", {"attn_temperature_tuning": False}),
    Row("tuned_by_number", {"attn_temperature_tuning": 4}, hf_changes={"attn_temperature_tuning": True}),
    Row("all_sparse", {"interleave_moe_layer_step": 1}),
    Row("chunk_16", {"attention_chunk_size": 16}),
    Row("attention_bias", {"attention_bias": True}),
    Row("no_rope_layers", {"no_rope_layers": [0, 1, 1, 0]}, "mlx-lm does not read the list", **HF),
    Row("no_rope_interval", {"no_rope_layer_interval": 2}, "mlx-lm does not read it", **HF),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm does not read hidden_act", **HF),
    Row("rope_theta", {"rope_theta": 500.0}),
    Row("rope_llama3", {"rope_scaling": LLAMA3}),
    Row("moe_layers", {"moe_layers": [1, 2]}, "mlx-lm does not read the list", **HF_ALONE),
    yarn_without_length(),
    Row("converted", {"num_local_experts": 2, "intermediate_size": 24}, dtype="float16", converted=True),
    quantized("affine_4_32", 4, 32, "affine", {}, head=True, converted=True),
]

# What a GGUF file does not say has the values of the published models.
GGUF = [
    gguf(
        changes={
            "attention_chunk_size": 8192,
            "floor_scale": 8192,
            "attn_scale": 0.1,
            "hidden_size": 16,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "intermediate_size_mlp": 24,
            "num_local_experts": 2,
        }
    )
]
