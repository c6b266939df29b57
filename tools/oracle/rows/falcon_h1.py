"""The rows of the falcon_h1 golden table."""

from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized, scaling, yarn_without_length

BASE = {
    "architectures": ["FalconH1ForCausalLM"],
    "model_type": "falcon_h1",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "mamba_d_ssm": 48,
    "mamba_n_heads": 6,
    "mamba_d_head": 8,
    "mamba_n_groups": 2,
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
    "mamba_conv_bias": True,
    "mamba_proj_bias": False,
    "projectors_bias": False,
    "attention_bias": False,
    "mlp_bias": False,
    "mamba_rms_norm": False,
    "mamba_norm_before_gate": False,
    "embedding_multiplier": 2.5,
    "lm_head_multiplier": 0.5,
    "key_multiplier": 1.0,
    "attention_in_multiplier": 1.0,
    "attention_out_multiplier": 0.75,
    "ssm_in_multiplier": 2.5,
    "ssm_out_multiplier": 3.0,
    "mlp_multipliers": [0.8, 0.7],
    "ssm_multipliers": [1.5, 2.0, 1.8, 1.2, 0.7],
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
NORM = {"mamba_rms_norm": True, "mamba_n_groups": 1}
GROUPS = "mlx-lm's gated norm goes over all groups at once"
INSIDE = {"key_multiplier": 0.4, "attention_in_multiplier": 1.5}
SMALL = {"num_hidden_layers": 1, "vocab_size": 64}
MULTIPLIERS = [k for k in BASE if "multiplier" in k]

ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row(
        "inside_attention",
        INSIDE,
        "mlx-lm leaves key_multiplier and the values out",
        **HF,
    ),
    Row(
        "converted_inside_attention",
        {**SMALL, **INSIDE},
        "mlx-lm leaves key_multiplier and the values out",
        converted=True,
        **HF,
    ),
    Row(
        "defaults",
        {k: ABSENT for k in [*MULTIPLIERS, "rope_theta", "mamba_conv_bias"]},
        "mlx-lm has the multipliers and the rope_theta of one model",
        **HF,
    ),
    Row(
        "biases",
        {"mamba_proj_bias": True, "projectors_bias": True, "attention_bias": True, "mlp_bias": True},
        "mlx-lm does not multiply biases",
        **HF,
    ),
    Row("no_conv_bias", {"mamba_conv_bias": False}),
    Row("norm", NORM),
    Row("norm_before_gate", {**NORM, "mamba_norm_before_gate": True}),
    Row("norm_order_absent", {**NORM, "mamba_norm_before_gate": ABSENT}, "false in mlx-lm", **HF),
    Row("norm_of_groups", {"mamba_rms_norm": True}, GROUPS, **HF),
    Row(
        "norm_of_groups_before_gate",
        {"mamba_rms_norm": True, "mamba_norm_before_gate": True},
        GROUPS,
        **HF,
    ),
    Row("conv_3", {"mamba_d_conv": 3}),
    Row(
        "expand",
        {"mamba_d_ssm": None, "mamba_d_head": "auto", "mamba_n_heads": 8},
        "mlx-lm does not derive widths",
        **HF_ALONE,
    ),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm does not read hidden_act", **HF),
    Row(
        "step_limit",
        {"time_step_limit": [0.65, 0.8]},
        "not read by mlx-lm; transformers has no limit in single steps",
        whole=True,
        **HF,
    ),
    Row("rope_theta", {"rope_theta": 500.0}),
    scaling("rope_yarn", YARN),
    yarn_without_length(),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row("bfloat16", note="weights rounded to bfloat16, multiplied in float32", dtype="bfloat16", **HF),
    Row(
        "converted_tied",
        {**SMALL, "tie_word_embeddings": True},
        "bfloat16, rounded after the multipliers went into the weights",
        head=False,
        dtype="bfloat16",
        converted=True,
        readings="near",
    ),
    Row("converted", SMALL, converted=True),
    quantized(
        "affine_4_32",
        4,
        32,
        "affine",
        {**SMALL, "hidden_size": 64, "intermediate_size": 64, "mamba_d_ssm": 64, "mamba_d_head": 16, "mamba_n_heads": 4},
        "an in_proj 8 bits, an o_proj dense (false)",
        head=True,
        converted=True,
        per_layer={
            "model.layers.0.mamba.in_proj": {"group_size": 32, "bits": 8},
            "model.layers.0.self_attn.o_proj": False,
        },
    ),
]

# In float32: the converter multiplies weights, and would round them.
IN_GGUF = {"num_hidden_layers": 1, "hidden_size": 16, "head_dim": 8, "mamba_d_ssm": 24, "mamba_d_head": 4}
GGUF = [
    gguf(changes={**IN_GGUF, **INSIDE}, kind="f32", dtype="float32", **HF),
    gguf("norm", {**IN_GGUF, **NORM, "mamba_d_conv": 3, "rope_theta": 500.0}, kind="f32", dtype="float32"),
]
