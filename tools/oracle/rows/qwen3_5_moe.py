"""The rows of the qwen3_5_moe golden table."""

from .qwen3_5 import BASE as DENSE
from .qwen3_5 import OUTER as DENSE_OUTER
from .qwen3_5 import FURTHER, GROUPS, IN_GGUF, OUTSIDE, ROUNDED, SEEING, TYPES, YARN, disk_name, without
from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized

OUTER = {
    **DENSE_OUTER,
    "architectures": ["Qwen3_5MoeForConditionalGeneration"],
    "model_type": "qwen3_5_moe",
    "vision_config": {"model_type": "qwen3_5_moe"},
}
STACKED = True
BASE = {
    **{k: v for k, v in DENSE.items() if k != "intermediate_size"},
    "model_type": "qwen3_5_moe_text",
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 24,
}
TINY = {"num_experts": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "head_dim": 8}
SMALL = {"num_experts": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("interval_by_default", {"num_hidden_layers": 4, "full_attention_interval": ABSENT, "num_experts": 2}),
    Row("equal_heads", {"linear_num_key_heads": 4, "linear_num_value_heads": 4}),
    Row("conv_2", {"linear_conv_kernel_dim": 2}),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("one_expert", {"num_experts_per_tok": 1}),
    Row("not_normalised", {"norm_topk_prob": False}, "transformers always normalises", **HF),
    Row("one_by_one", {}, "experts one by one, as some packed ones have them", stacked=False, **HF_ALONE),
    Row("attention_bias", {"attention_bias": True}),
    Row("hidden_act", {"hidden_act": "gelu"}, "of the convolution, too; mlx-lm does not read it", **HF),
    Row("layer_types", {"layer_types": TYPES}, "mlx-lm does not read layer_types", **HF_ALONE),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row("head_dim_by_default", {"head_dim": ABSENT}, "256, and not what the heads share", **HF_ALONE),
    Row("theta_by_default", without("rope_theta"), "100000 in mlx-lm, 10000 in transformers", **HF),
    Row("rope_outside", OUTSIDE, "mlx-lm reads rope_parameters alone", **HF),
    Row(
        "rope_yarn_no_original",
        {"rope_parameters": YARN, "max_position_embeddings": 32},
        "original_max_position_embeddings missing: 4096 in mlx-lm, max_position_embeddings in transformers",
        **HF,
    ),
    Row("whole", note="tensors for images and for further tokens", beside={**SEEING, **FURTHER}),
    Row("bfloat16", {}, ROUNDED, dtype="bfloat16", reference="transformers", readings="near"),
    Row("converted", {**TINY, "vocab_size": 48}, converted=True),
    quantized("affine_4_32", 4, 32, "affine", SMALL, head=True, converted=True),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        SMALL,
        note="a gate and an in_proj_qkv 8 bits, a q_proj 6 bits, an out_proj dense (false)",
        converted=True,
        head=True,
        per_layer={
            "language_model.model.layers.0.mlp.gate": {"group_size": 32, "bits": 8},
            "language_model.model.layers.0.linear_attn.in_proj_qkv": {"group_size": 32, "bits": 8},
            "language_model.model.layers.0.linear_attn.out_proj": False,
            "language_model.model.layers.1.self_attn.q_proj": {"group_size": 32, "bits": 6},
        },
    ),
]

GGUF = [gguf(changes={**IN_GGUF, "num_experts": 2, **GROUPS}, head=False, kind="f32", dtype="float32")]
