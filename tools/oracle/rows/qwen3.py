"""The rows of the qwen3 golden table."""

from .llama import MIXED, YARN
from .qwen2 import BASE as QWEN2
from .row import ABSENT, HF, HF_ALONE, Row, quantized, scaling, yarn_without_length

BASE = {
    **QWEN2,
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "head_dim": 24,
    "attention_bias": False,
}
WINDOWS = {"num_hidden_layers": 4, "use_sliding_window": True}
SMALL = {"num_hidden_layers": 1, "intermediate_size": 64, "head_dim": 16, "tie_word_embeddings": True}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row(
        "tie_absent_with_head",
        {"tie_word_embeddings": ABSENT},
        "mlx-lm requires tie_word_embeddings",
        **HF_ALONE,
    ),
    Row("kv_null", {"num_key_value_heads": None}, **HF_ALONE),
    Row(
        "head_dim_absent",
        {"head_dim": ABSENT, "num_hidden_layers": 1},
        "128 in transformers; mlx-lm requires the key",
        **HF_ALONE,
    ),
    Row(
        "attention_bias",
        {"attention_bias": True},
        "bias on q, k, v and o; mlx-lm's qwen3 does not read the key",
        **HF_ALONE,
    ),
    Row("rope_theta", {"rope_theta": 500.0}),
    Row("rope_theta_absent", {"rope_theta": ABSENT}, "mlx-lm requires rope_theta", **HF_ALONE),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm's qwen3 does not read hidden_act", **HF),
    scaling("rope_yarn", YARN),
    yarn_without_length(),
    Row(
        "rope_parameters",
        {"rope_theta": ABSENT, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        "transformers 5 spelling",
    ),
    Row(
        "rope_parameters_yarn",
        {"rope_theta": ABSENT, "rope_parameters": {**YARN, "rope_theta": 500.0}},
        "transformers 5 spelling",
    ),
    Row("sliding", WINDOWS, "layers 2 and 3 have a window; mlx-lm reads no windows", **HF),
    Row("sliding_off", {**WINDOWS, "use_sliding_window": False}),
    Row("layer_types", {**WINDOWS, "layer_types": MIXED}, "mlx-lm reads no windows", **HF),
    Row("float16", dtype="float16", note="weights rounded to float16, computed in float32"),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32"),
    quantized("affine_4_64", 4, 64, "affine", SMALL),
    quantized("mxfp4", 4, 32, "mxfp4", SMALL),
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
