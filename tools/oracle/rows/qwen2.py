"""The rows of the qwen2 golden table."""

from .llama import MIXED, YARN
from .row import ABSENT, HF, HF_ALONE, Row, quantized, scaling, yarn_without_length

BASE = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "rms_norm_eps": 1e-3,
    "rope_theta": 1000000.0,
    "max_position_embeddings": 128,
    "max_window_layers": 2,
    "sliding_window": 8,
    "use_sliding_window": False,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
WINDOWS = {"num_hidden_layers": 4, "use_sliding_window": True}
SMALL = {"num_hidden_layers": 1, "intermediate_size": 64, "tie_word_embeddings": True}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row(
        "tie_absent_with_head",
        {"tie_word_embeddings": ABSENT},
        "default of tie_word_embeddings: true in mlx-lm (drops lm_head.weight), false in transformers",
        **HF,
    ),
    Row("kv_null", {"num_key_value_heads": None}, **HF_ALONE),
    Row("head_dim", {"head_dim": 24}, "mlx-lm's qwen2 does not read head_dim", **HF_ALONE),
    Row("rope_theta", {"rope_theta": 500.0}),
    Row(
        "rope_theta_absent",
        {"rope_theta": ABSENT},
        "default of rope_theta: 1e6 in mlx-lm, 1e4 in transformers",
        **HF,
    ),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm's qwen2 does not read hidden_act", **HF),
    Row(
        "rope_traditional",
        {"rope_traditional": True},
        "only mlx-lm reads the key; transformers is given q and k with rows reordered",
    ),
    scaling("rope_yarn", YARN, "how Qwen 2.5 asks for long contexts"),
    yarn_without_length(),
    Row(
        "rope_parameters",
        {"rope_theta": ABSENT, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        "transformers 5 spelling; mlx-lm's qwen2 does not read rope_parameters",
        **HF,
    ),
    Row("sliding", WINDOWS, "layers 2 and 3 have a window; mlx-lm reads no windows", **HF),
    Row("sliding_from_0", {**WINDOWS, "max_window_layers": 0}, "mlx-lm reads no windows", **HF),
    Row("sliding_off", {**WINDOWS, "use_sliding_window": False}),
    Row("layer_types", {**WINDOWS, "layer_types": MIXED}, "mlx-lm reads no windows", **HF),
    Row(
        "layer_types_off",
        {**WINDOWS, "layer_types": MIXED, "use_sliding_window": False},
        "without use_sliding_window a sliding layer has no window; transformers fails, so it is not "
        "told layer_types",
        hf_changes={"layer_types": None},
    ),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32"),
    quantized("affine_4_64", 4, 64, "affine", SMALL),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        {**SMALL, "tie_word_embeddings": False},
        head=True,
        note="lm_head 8 bits, q_proj 6 bits group 64, down_proj dense (false)",
        per_layer={
            "lm_head": {"group_size": 64, "bits": 8},
            "model.layers.0.self_attn.q_proj": {"group_size": 64, "bits": 6},
            "model.layers.0.mlp.down_proj": False,
        },
    ),
]
