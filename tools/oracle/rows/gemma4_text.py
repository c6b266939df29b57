"""The rows of the gemma4_text golden table."""

from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized

FULL = {"rope_type": "proportional", "partial_rotary_factor": 0.5, "rope_theta": 1000000.0}
SLIDING = {"rope_type": "default", "rope_theta": 10000.0}
BASE = {
    "architectures": ["Gemma4ForCausalLM"],
    "model_type": "gemma4_text",
    "hidden_size": 64,  # its root, which scales the embeddings, is exact in bfloat16
    "num_hidden_layers": 4,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 16,
    "num_global_key_value_heads": None,
    "vocab_size": 128,
    "vocab_size_per_layer_input": 128,
    "hidden_size_per_layer_input": 16,
    "num_kv_shared_layers": 2,
    "use_double_wide_mlp": False,
    "attention_k_eq_v": False,
    "enable_moe_block": False,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": 8,
    "rope_parameters": {"full_attention": FULL, "sliding_attention": SLIDING},
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-3,
    "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh",
    "final_logit_softcapping": 8.0,
    "tie_word_embeddings": True,
    "pad_token_id": None,  # transformers would have no embedding for it
}
TIED = {"head": False}
MOE = {
    "enable_moe_block": True,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 24,
}
# The large models: no inputs of layers, no keys shared, keys of full layers used as values.
LARGE = {"hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0}
SMALL = {
    "hidden_size": 32,
    "head_dim": 32,
    "global_head_dim": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", "full_attention", "full_attention"],
    "num_kv_shared_layers": 1,
    "hidden_size_per_layer_input": 32,
    "intermediate_size": 32,
    "vocab_size_per_layer_input": 64,
    "vocab_size": 64,
}


def ropes(full=FULL, sliding=SLIDING):
    return {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}}


ROWS = [
    Row("plain", **TIED),
    Row("untied", {"tie_word_embeddings": False}),
    Row("eps", {"rms_norm_eps": 0.1}, **TIED),
    Row("window", {"sliding_window": 5}, **TIED),
    Row("theta", ropes({**FULL, "rope_theta": 500.0}, {**SLIDING, "rope_theta": 100.0}), **TIED),
    Row("rope_factor", ropes({**FULL, "factor": 4.0}), **TIED),
    Row(
        "half_turns",
        ropes({**FULL, "partial_rotary_factor": 0.7, "rope_theta": 100.0}),
        "11.2 of 16 dims: five pairs turn, six in mlx-lm",
        **TIED,
        **HF,
    ),
    Row("rope_absent", {"rope_parameters": ABSENT}, **TIED),
    Row("rope_dynamic", ropes({"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}), "inside the window", **TIED),
    Row("double_wide", {"use_double_wide_mlp": True}, **TIED),
    Row("nothing_shared", {"num_kv_shared_layers": 0}, **TIED),
    Row("no_layer_inputs", LARGE, **TIED),
    Row("no_softcap", {"final_logit_softcapping": None}, **TIED),
    Row("keys_are_values", {**LARGE, "attention_k_eq_v": True}, **TIED),
    Row("global_kv_heads", {**LARGE, "attention_k_eq_v": True, "num_global_key_value_heads": 1}, **TIED),
    Row("attention_bias", {"attention_bias": True}, "not read by mlx-lm", **TIED, **HF_ALONE),
    Row("hidden_activation", {**MOE, "hidden_activation": "silu"}, "not read by mlx-lm", **TIED, **HF),
    Row(
        "last_layer_is_full",
        {"layer_types": ["sliding_attention", "full_attention"] + ["sliding_attention"] * 2},
        "the last layer has no window whatever layer_types says; mlx-lm gives it one",
        **TIED,
        **HF_ALONE,
    ),
    Row(
        "layer_types_absent",
        {"layer_types": ABSENT, "num_hidden_layers": 7, "num_kv_shared_layers": 0},
        "5 layers with a window to one without; 4 in mlx-lm",
        **TIED,
        **HF_ALONE,
    ),
    Row(
        "per_layer_config",
        {
            "global_head_dim": ABSENT,
            "num_global_key_value_heads": ABSENT,
            "attention_k_eq_v": True,
            "per_layer_config": {i: {"head_dim": 16, "num_key_value_heads": 1} for i in ("1", "3")},
        },
        "as transformers 5.24 writes it; not read by mlx-lm",
        **TIED,
        **HF_ALONE,
    ),
    Row(
        "defaults",
        {
            "hidden_size": 32,
            "num_hidden_layers": 2,
            **{
                key: ABSENT
                for key in (
                    "num_attention_heads num_key_value_heads head_dim global_head_dim layer_types sliding_window "
                    "rope_parameters rms_norm_eps hidden_activation final_logit_softcapping tie_word_embeddings "
                    "hidden_size_per_layer_input num_kv_shared_layers use_double_wide_mlp attention_k_eq_v "
                    "enable_moe_block attention_bias max_position_embeddings"
                ).split()
            },
        },
        "mlx-lm has other defaults",
        **TIED,
        **HF_ALONE,
    ),
    Row("moe", MOE, **TIED),
    Row("moe_one_expert", {**MOE, "top_k_experts": 1}, **TIED),
    Row(
        "converted",
        {
            **SMALL,
            **MOE,
            "hidden_size": 16,  # a square, as in BASE
            "head_dim": 8,
            "global_head_dim": 16,
            "hidden_size_per_layer_input": 16,
            "num_experts": 3,
            "moe_intermediate_size": 16,
        },
        dtype="float16",
        converted=True,
        **TIED,
    ),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32", **TIED),
    quantized("affine_4_32", 4, 32, "affine", SMALL),
    quantized(
        "moe",
        4,
        32,
        "affine",
        {
            **SMALL,
            **LARGE,
            **MOE,
            "num_hidden_layers": 2,
            "layer_types": ["sliding_attention", "full_attention"],
            "hidden_size": 64,
            "moe_intermediate_size": 32,
        },
        note="router 8 bits group 64, as mlx-lm's converter has it",
        converted=True,
        per_layer={f"model.layers.{i}.router.proj": {"group_size": 64, "bits": 8} for i in range(2)},
    ),
]

# The converter asks for the keys that only some models have.
IN_GGUF = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size_per_layer_input": 288,
    "hidden_size_per_layer_input": 4,
    "moe_intermediate_size": None,
}
GGUF = [
    gguf(changes=IN_GGUF, kind="f32", dtype="float32", **TIED),
    gguf("double_wide", {**IN_GGUF, "use_double_wide_mlp": True, **ropes({**FULL, "rope_theta": 500.0}, {**SLIDING, "rope_theta": 100.0})}, kind="f32", dtype="float32", **TIED),
    gguf("large", {**IN_GGUF, **LARGE, **MOE, "attention_k_eq_v": True, "num_key_value_heads": 2, "num_global_key_value_heads": 1}, **TIED),
]
