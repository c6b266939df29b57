"""The rows of the nemotron_h golden table."""

from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized

BASE = {
    "architectures": ["NemotronHForCausalLM"],
    "model_type": "nemotron_h",
    "hidden_size": 32,
    "num_hidden_layers": 5,
    "hybrid_override_pattern": "M-*EM",
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "attention_bias": False,
    "mlp_bias": False,
    "use_bias": False,
    "mlp_hidden_act": "relu2",
    "mamba_hidden_act": "silu",
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "n_groups": 2,
    "ssm_state_size": 16,
    "conv_kernel": 4,
    "use_conv_bias": True,
    "mamba_proj_bias": False,
    "chunk_size": 8,
    "time_step_limit": [0.0, 100.0],
    "time_step_min": 0.001,
    "time_step_max": 0.1,
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 24,
    "moe_shared_expert_intermediate_size": 40,
    "n_group": 1,
    "topk_group": 1,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "layer_norm_epsilon": 1e-5,
    "vocab_size": 128,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
NO_PATTERN = {"hybrid_override_pattern": ABSENT}
TYPES = ["linear_attention", "mlp", "full_attention", "moe", "mlp"]
SMALL = {"n_routed_experts": 4, "vocab_size": 64, "num_hidden_layers": 4, "hybrid_override_pattern": "M-*E"}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("no_experts", {"num_hidden_layers": 4, "hybrid_override_pattern": "M*-M"}),
    Row("attention_first", {"num_hidden_layers": 2, "hybrid_override_pattern": "*M"}),
    Row("layer_types", {**NO_PATTERN, "layer_types": TYPES}),
    Row(
        "layers_block_type",
        {
            "layers_block_type": ["attention", "mamba", "moe"],
            "num_hidden_layers": 3,
            "hybrid_override_pattern": "M-E",
        },
        "the pattern wins over the list in mlx-lm",
        **HF_ALONE,
    ),
    Row("layers_absent", {"num_hidden_layers": ABSENT}),
    Row("latent", {"moe_latent_size": 16}),
    Row("mlp_bias", {"mlp_bias": True, "moe_latent_size": 16}),
    Row("use_bias", {"use_bias": True}, "mlx-lm reads mamba_proj_bias", **HF_ALONE),
    Row("no_conv_bias", {"use_conv_bias": False}),
    Row("conv_3", {"conv_kernel": 3}),
    Row("one_group", {"n_groups": 1}),
    Row("groups_of_experts", {"n_group": 4, "topk_group": 2}),
    Row("one_expert", {"num_experts_per_tok": 1}, "mlx-lm does not normalise a single weight", **HF),
    Row("not_normalised", {"norm_topk_prob": False}),
    Row("scaling_factor", {"routed_scaling_factor": 1.5}),
    Row("mlp_hidden_act", {"mlp_hidden_act": "silu"}, "mlx-lm does not read it", **HF),
    Row("mamba_hidden_act", {"mamba_hidden_act": "gelu"}, "mlx-lm does not read it", **HF),
    Row("eps", {"layer_norm_epsilon": 0.1}),
    Row(
        "step_limit",
        {"time_step_limit": [0.65, 0.8]},
        "transformers does not read it: its least step is time_step_min, in long passes",
        readings="other",
    ),
    Row("step_limit_absent", {"time_step_limit": ABSENT}),
    Row("head_dim_absent", {"head_dim": ABSENT}, "hidden_size / heads in mlx-lm", **HF_ALONE),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32"),
    Row("converted", SMALL, dtype="float16", converted=True),
    quantized(
        "affine_4_32",
        4,
        32,
        "affine",
        {**SMALL, "intermediate_size": 32, "moe_intermediate_size": 32, "moe_latent_size": 32},
        "experts of an fc1 8 bits, an in_proj 8 bits, an o_proj dense (false)",
        head=True,
        converted=True,
        per_layer={
            "backbone.layers.3.mixer.switch_mlp.fc1": {"group_size": 32, "bits": 8},
            "backbone.layers.0.mixer.in_proj": {"group_size": 32, "bits": 8},
            "backbone.layers.2.mixer.o_proj": False,
        },
    ),
]

# llama.cpp has the dense ones and those with experts apart, the latter without a plain network; only
# its converter reads mamba_d_head.
IN_GGUF = {"hidden_size": 16, "head_dim": 8, "mamba_num_heads": 4, "num_hidden_layers": 3, "mamba_d_head": 8}
EXPERTS = {**IN_GGUF, "hybrid_override_pattern": "M*E", "n_routed_experts": 4}
DENSE = {k: ABSENT for k in BASE if "expert" in k or k.startswith("moe_")}
GGUF = [
    gguf("dense", {**IN_GGUF, **DENSE, "hybrid_override_pattern": "M-*"}, kind="f32", dtype="float32"),
    gguf(changes=EXPERTS, kind="f32", dtype="float32"),
    gguf("latent", {**EXPERTS, "moe_latent_size": 8, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2}, kind="f32", dtype="float32"),
]
