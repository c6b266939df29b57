"""The rows of the qwen3_5 golden table."""

from .qwen3_next import BASE as NEXT
from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized

OUTER = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "model_type": "qwen3_5",
    "vision_config": {"model_type": "qwen3_5"},
}
ROPE = {
    "rope_type": "default",
    "rope_theta": 1000.0,
    "partial_rotary_factor": 0.5,
    "mrope_section": [2, 1, 1],
    "mrope_interleaved": True,
}
ONLY_NEXT = (
    "architectures",
    "rope_theta",
    "partial_rotary_factor",
    "rope_scaling",
    "num_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "decoder_sparse_step",
    "mlp_only_layers",
    "norm_topk_prob",
)
BASE = {k: v for k, v in NEXT.items() if k not in ONLY_NEXT}
BASE.update(model_type="qwen3_5_text", rope_parameters=ROPE)
TYPES = ["full_attention", "linear_attention"]
OUTSIDE = {"rope_parameters": ABSENT, "rope_theta": 50.0, "partial_rotary_factor": 0.75}
YARN = {**ROPE, "rope_type": "yarn", "factor": 4.0}
SMALL = {"intermediate_size": 32, "vocab_size": 64}
# As they are published, and as other tools store them.
SEEING = {"model.visual.merger.norm.weight": (8,), "vision_tower.patch_embed.proj.weight": (8, 3)}
FURTHER = {"mtp.layers.0.input_layernorm.weight": (32,), "language_model.mtp.fc.weight": (32, 64)}
ROUNDED = "mlx-lm adds the norms' one in bfloat16"


def disk_name(name):
    return name.replace("model.", "model.language_model.", 1)


def without(key):
    return {"rope_parameters": {k: v for k, v in ROPE.items() if k != key}}


ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("interval_by_default", {"num_hidden_layers": 4, "full_attention_interval": ABSENT}),
    Row("equal_heads", {"linear_num_key_heads": 3, "linear_num_value_heads": 3}),
    Row("conv_2", {"linear_conv_kernel_dim": 2}),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("attention_bias", {"attention_bias": True}),
    Row("hidden_act", {"hidden_act": "gelu"}, "of the convolution, too; mlx-lm does not read it", **HF),
    Row("layer_types", {"layer_types": TYPES}, "mlx-lm does not read layer_types", **HF_ALONE),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row("head_dim_by_default", {"head_dim": ABSENT}, "256, and not what the heads share", **HF_ALONE),
    Row("theta_by_default", without("rope_theta"), "100000 in mlx-lm, 10000 in transformers", **HF),
    Row("partial_by_default", without("partial_rotary_factor")),
    Row("rope_outside", OUTSIDE, "mlx-lm reads rope_parameters alone", **HF),
    Row("rope_yarn", {"rope_parameters": {**YARN, "original_max_position_embeddings": 32}}),
    Row(
        "rope_yarn_no_original",
        {"rope_parameters": YARN, "max_position_embeddings": 32},
        "original_max_position_embeddings missing: 4096 in mlx-lm, max_position_embeddings in transformers",
        **HF,
    ),
    Row("whole", note="tensors for images and for further tokens", beside={**SEEING, **FURTHER}),
    Row("bfloat16", {}, ROUNDED, dtype="bfloat16", reference="transformers", readings="near"),
    Row("converted", {**SMALL, "head_dim": 8}, converted=True),
    Row("converted_bfloat16", {}, ROUNDED + ", and stores that", dtype="bfloat16", readings="near", converted=True),
    quantized("affine_4_32", 4, 32, "affine", SMALL, head=True, converted=True),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        SMALL,
        note="an in_proj_qkv 8 bits, a q_proj 6 bits, an out_proj dense (false)",
        converted=True,
        head=True,
        per_layer={
            "language_model.model.layers.0.linear_attn.in_proj_qkv": {"group_size": 32, "bits": 8},
            "language_model.model.layers.0.linear_attn.out_proj": False,
            "language_model.model.layers.1.self_attn.q_proj": {"group_size": 32, "bits": 6},
        },
    ),
]

IN_GGUF = {"tie_word_embeddings": True, "hidden_size": 16}
GROUPS = {"linear_num_key_heads": 2, "linear_num_value_heads": 6}
GGUF = [
    gguf(changes={**IN_GGUF, **GROUPS}, head=False, kind="f32", dtype="float32"),
    gguf("equal_heads", {**IN_GGUF, "linear_num_key_heads": 3, "linear_num_value_heads": 3}, head=False, kind="f32", dtype="float32"),
    gguf("q8_0", {**IN_GGUF, "hidden_size": 32, "intermediate_size": 32, **GROUPS, "linear_value_head_dim": 32}, head=False, kind="q8_0", dtype="float32"),
]
