"""The rows of the deepseek_v3 golden table."""

from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized, scaling, yarn_without_length

YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "beta_fast": 32,
    "beta_slow": 1,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "original_max_position_embeddings": 64,
}
BASE = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 48,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 1,
    "n_routed_experts": 8,
    "routed_scaling_factor": 2.5,
    "kv_lora_rank": 32,
    "q_lora_rank": 32,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "qk_nope_head_dim": 32,
    "topk_method": "noaux_tc",
    "scoring_func": "sigmoid",
    "norm_topk_prob": True,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "moe_layer_freq": 1,
    "first_k_dense_replace": 1,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "attention_bias": False,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
SMALL = {
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "vocab_size": 64,
}
KIMI = {"n_group": 1, "topk_group": 1, "routed_scaling_factor": 2.827}
ROUTER = {"model.layers.1.mlp.gate": False}
NO_TABLE = "mlx-lm has other defaults: one group, one expert, no dense layer, factor 1"

ROWS = [
    Row("plain"),
    Row("wide_heads", {"qk_rope_head_dim": 32}, "caches of these can be packed"),
    Row("kimi_k2", {"model_type": "kimi_k2", **KIMI}, hf_type="deepseek_v3"),
    Row("joyai_llm_flash", {"model_type": "joyai_llm_flash", **KIMI, "q_lora_rank": 24}, hf_type="deepseek_v3"),
    Row("no_q_lora", {"q_lora_rank": None}),
    Row("attention_bias", {"attention_bias": True}),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("two_shared_experts", {"n_shared_experts": 2}),
    Row("all_groups", {"topk_group": 4, "num_experts_per_tok": 4}),
    Row("not_normalised", {"norm_topk_prob": False}),
    Row("one_expert", {"num_experts_per_tok": 1}, "mlx-lm does not bring a single weight to one", **HF),
    Row("dense", {"n_routed_experts": ABSENT}, hf_changes={"first_k_dense_replace": 3}),
    Row("every_second_sparse", {"moe_layer_freq": 2}, hf_changes={"first_k_dense_replace": 2}),
    Row(
        "defaults",
        {
            "num_hidden_layers": 4,
            "n_routed_experts": 16,
            **dict.fromkeys(
                ["n_shared_experts", "n_group", "topk_group", "num_experts_per_tok", "first_k_dense_replace"], ABSENT
            ),
            **dict.fromkeys(["routed_scaling_factor", "norm_topk_prob", "topk_method", "scoring_func"], ABSENT),
            **dict.fromkeys(["kv_lora_rank", "qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim"], ABSENT),
            **dict.fromkeys(["rms_norm_eps", "rope_theta", "attention_bias", "hidden_act"], ABSENT),
        },
        NO_TABLE,
        **HF_ALONE,
    ),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm does not read hidden_act", **HF),
    Row("tied", {"tie_word_embeddings": True}, "mlx-lm has no tied head", head=False, **HF_ALONE),
    Row("rope_halves", {"rope_interleave": False}, "mlx-lm does not read rope_interleave", **HF),
    Row("rope_theta", {"rope_theta": 500.0}),
    Row(
        "rope_parameters",
        {"rope_parameters": {**YARN, "rope_theta": 500.0}, "rope_scaling": ABSENT, "rope_theta": ABSENT},
        "mlx-lm does not read rope_parameters",
        **HF,
    ),
    scaling("rope_yarn", YARN),
    scaling("rope_yarn_mscale", {**YARN, "mscale": 0.7, "mscale_all_dim": 1.3}),
    scaling(
        "rope_yarn_all_dim",
        {k: v for k, v in YARN.items() if k != "mscale"},
        "mscale_all_dim without mscale: transformers stretches the rotated part by the plain rule",
        **HF,
    ),
    scaling("rope_linear_mscale", {"rope_type": "linear", "factor": 4.0, "mscale_all_dim": 0.5}),
    scaling(
        "rope_default_mscale",
        {"rope_type": "default", "factor": 4.0, "mscale_all_dim": 0.5},
        "transformers: no scaling, no mscale",
        **HF,
    ),
    yarn_without_length(),
    Row("bfloat16", SMALL, dtype="bfloat16"),
    Row("converted", SMALL, dtype="float16", converted=True),
    quantized("affine_4_32", 4, 32, "affine", SMALL, head=True, converted=True),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        SMALL,
        head=True,
        converted=True,
        per_layer={
            "model.layers.0.self_attn.embed_q": {"group_size": 32, "bits": 8},
            "model.layers.0.mlp.gate_proj": False,
            "model.layers.1.mlp.switch_mlp.down_proj": {"group_size": 32, "bits": 8},
        },
    ),
    quantized(
        "raw",
        4,
        32,
        "affine",
        SMALL,
        "kv_b_proj as older converters packed it; mlx-lm packs its halves anew",
        head=True,
        per_layer=ROUTER,
        **HF,
    ),
]

IN_GGUF = {
    **SMALL,
    "vocab_size": 288,
    "hidden_size": 16,
    "intermediate_size": 32,
    "moe_intermediate_size": 16,
    "tie_word_embeddings": True,
}
GGUF = [
    gguf(changes=IN_GGUF, head=False, **HF_ALONE),
    gguf("rope_yarn", {**IN_GGUF, "q_lora_rank": None, "rope_scaling": YARN}, head=False, **HF_ALONE),
]
