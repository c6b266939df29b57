"""The rows of the phi3 golden table."""

from .row import ABSENT, HF, Row, gguf, quantized, scaling

BASE = {
    "architectures": ["Phi3ForCausalLM"],
    "model_type": "phi3",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "rms_norm_eps": 1e-3,
    "rope_theta": 10000.0,
    "max_position_embeddings": 128,
    "original_max_position_embeddings": 64,
    "partial_rotary_factor": 0.75,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "rope_scaling": None,
    "pad_token_id": 0,
    "sliding_window": None,
}
LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.35, 1.5, 2.0],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 5.0, 8.0],
}
SMALL = {"num_hidden_layers": 1, "intermediate_size": 64}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("whole_rope", {"partial_rotary_factor": 1.0}),
    Row("kv_null", {"num_key_value_heads": None}),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row("rope_theta", {"rope_theta": 500.0}),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm's phi3 does not read hidden_act", **HF),
    Row("sliding", {"sliding_window": 8}, "every layer's; mlx-lm reads no window", **HF),
    scaling(
        "rope_longrope_short",
        LONGROPE,
        "mlx-lm always takes long_factor; transformers takes short_factor inside the window",
        **HF,
    ),
    scaling("rope_longrope_long", LONGROPE, config={"original_max_position_embeddings": 16}),
    scaling(
        "rope_longrope_su",
        {**LONGROPE, "type": "su"},
        "longrope's oldest name; transformers 5.24 fails to read it, and is told longrope",
        config={"original_max_position_embeddings": 16},
        hf_changes={"rope_scaling": LONGROPE},
    ),
    scaling(
        "rope_longrope_yarn",
        {**LONGROPE, "type": "yarn"},
        "yarn is longrope's older name in phi3, which transformers 5.24 fails to read (it is told "
        "longrope); mlx-lm leaves the scaling out",
        config={"original_max_position_embeddings": 16},
        hf_changes={"rope_scaling": LONGROPE},
        **HF,
    ),
    Row(
        "rope_longrope_parameters",
        {
            "rope_theta": ABSENT,
            "partial_rotary_factor": ABSENT,
            "original_max_position_embeddings": 16,
            "rope_parameters": {
                **LONGROPE,
                "rope_type": "longrope",
                "rope_theta": 500.0,
                "partial_rotary_factor": 0.75,
            },
        },
        "transformers 5 spelling, not read by mlx-lm",
        **HF,
    ),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32"),
    quantized("affine_4_32", 4, 32, "affine", SMALL, head=True),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        SMALL,
        head=True,
        note="qkv_proj 8 bits, gate_up_proj mxfp4, o_proj dense (false): fused parts share an entry",
        per_layer={
            "model.layers.0.self_attn.qkv_proj": {"group_size": 64, "bits": 8},
            "model.layers.0.mlp.gate_up_proj": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
            "model.layers.0.self_attn.o_proj": False,
        },
    ),
]

IN_GGUF = {
    **SMALL,
    "hidden_size": 32,
    "rope_scaling": {**LONGROPE, "short_factor": [1.0, 1.2, 1.5], "long_factor": [1.0, 2.0, 5.0]},
}
GGUF = [
    gguf(changes={**SMALL, "hidden_size": 32}),
    gguf("rope_longrope_short", {**IN_GGUF, "sliding_window": 8}, "every layer's window; mlx-lm reads none", **HF),
    gguf("rope_longrope_long", {**IN_GGUF, "original_max_position_embeddings": 16}),
]
