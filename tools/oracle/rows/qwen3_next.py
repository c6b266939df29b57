"""The rows of the qwen3_next golden table."""

from .llama import YARN
from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized, scaling, yarn_without_length

BASE = {
    "architectures": ["Qwen3NextForCausalLM"],
    "model_type": "qwen3_next",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "full_attention_interval": 2,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 24,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
    "attention_bias": False,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000.0,
    "partial_rotary_factor": 0.5,
    "rope_scaling": None,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
TYPES = ["full_attention", "linear_attention"]
TINY = {"num_experts": 2, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "head_dim": 8}
SMALL = {"num_experts": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
# So that every row of a projection is whole groups of 32.
WHOLE = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_value_head_dim": 8}
ROUNDED = "mlx-lm adds the norms' one in bfloat16"

ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("interval_by_default", {"num_hidden_layers": 4, "full_attention_interval": ABSENT, "num_experts": 2}),
    Row("equal_heads", {"linear_num_key_heads": 3, "linear_num_value_heads": 3}),
    Row("conv_2", {"linear_conv_kernel_dim": 2}),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("not_normalised", {"norm_topk_prob": False}),
    Row("normalised_by_default", {"norm_topk_prob": ABSENT}, "false in mlx-lm", **HF),
    Row("one_expert", {"num_experts_per_tok": 1, "norm_topk_prob": False}),
    Row("sparse_step", {"decoder_sparse_step": 2}),
    Row("dense_layers", {"mlp_only_layers": [0]}),
    Row("all_dense", {"mlp_only_layers": [0, 1]}, "mlx-lm takes it for a converted one", **HF_ALONE),
    Row("attention_bias", {"attention_bias": True}),
    Row("hidden_act", {"hidden_act": "gelu"}, "of the convolution, too; mlx-lm does not read it", **HF),
    Row("layer_types", {"layer_types": TYPES}, "mlx-lm does not read layer_types", **HF_ALONE),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row("head_dim_by_default", {"head_dim": ABSENT}, "mlx-lm has no default", **HF_ALONE),
    Row("partial_by_default", {"partial_rotary_factor": ABSENT}, "mlx-lm has no default", **HF_ALONE),
    Row(
        "rope_parameters",
        {
            "rope_theta": ABSENT,
            "partial_rotary_factor": ABSENT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 50.0, "partial_rotary_factor": 0.75},
        },
        "mlx-lm does not read rope_parameters",
        **HF_ALONE,
    ),
    scaling("rope_yarn", YARN),
    yarn_without_length(),
    Row("mtp", note="tensors for further tokens", beside={"mtp.fc.weight": (32, 64), "mtp.norm.weight": (32,)}),
    Row("bfloat16", {}, ROUNDED, dtype="bfloat16", reference="transformers", readings="near"),
    Row("converted", {**TINY, "vocab_size": 48}, converted=True),
    Row(
        "converted_bfloat16",
        {},
        ROUNDED + ", and stores that",
        dtype="bfloat16",
        readings="near",
        converted=True,
    ),
    quantized("affine_4_32", 4, 32, "affine", {**SMALL, **WHOLE}, head=True, converted=True),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        {**SMALL, **WHOLE},
        note="a gate and an in_proj_qkvz 8 bits, a q_proj 6 bits, an out_proj dense (false)",
        head=True,
        converted=True,
        per_layer={
            "model.layers.0.mlp.gate": {"group_size": 32, "bits": 8},
            "model.layers.0.linear_attn.in_proj_qkvz": {"group_size": 32, "bits": 8},
            "model.layers.0.linear_attn.out_proj": False,
            "model.layers.1.self_attn.q_proj": {"group_size": 32, "bits": 6},
        },
    ),
]

IN_GGUF = {"tie_word_embeddings": True, "hidden_size": 16, "num_experts": 2}
GGUF = [
    gguf(changes=IN_GGUF, head=False, kind="f32", dtype="float32"),
    gguf("q8_0", {**IN_GGUF, "hidden_size": 32, **SMALL}, head=False, kind="q8_0", dtype="float32"),
    gguf("layer_types", {**IN_GGUF, "layer_types": TYPES}, "mlx-lm does not read layer_types", head=False, kind="f32", dtype="float32", **HF_ALONE),
]
