"""The rows of the glm_moe_dsa golden table."""

from .deepseek_v3 import YARN
from .deepseek_v32 import BASE as V32
from .deepseek_v32 import IN_GGUF, SMALL
from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized

BASE = {
    **{k: v for k, v in V32.items() if k not in ("rope_theta", "rope_scaling")},
    "architectures": ["GlmMoeDsaForCausalLM"],
    "model_type": "glm_moe_dsa",
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
    "rms_norm_eps": 1e-5,
    "n_group": 1,
    "topk_group": 1,
}
FOUR = {"num_hidden_layers": 4}
SHARED = {"note": "mlx-lm wants an indexer in every layer", **HF_ALONE}
NO_DEFAULTS = {"note": "mlx-lm wants every key (TypeError)", **HF_ALONE}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"qk_rope_head_dim": 32, "index_head_dim": 32}, "caches of these can be packed"),
    Row("groups", {"n_group": 4, "topk_group": 2}),
    Row("indexer_halves", {"indexer_rope_interleave": False}, "transformers does not read the key", readings="other"),
    Row("shared", {**FOUR, "indexer_types": ["full", "shared", "shared", "full"]}, **SHARED),
    Row("shared_pattern", {**FOUR, "index_topk_pattern": "FSFS"}, **SHARED),
    Row("shared_by_step", {**FOUR, "index_topk_freq": 2}, **SHARED),
    Row("shared_by_step_from", {**FOUR, "index_topk_freq": 2, "index_skip_topk_offset": 1}, **SHARED),
    Row(
        "defaults",
        {
            **dict.fromkeys(
                ["n_group", "topk_group", "rms_norm_eps", "index_n_heads", "qk_nope_head_dim", "v_head_dim"], ABSENT
            ),
            **dict.fromkeys(["q_lora_rank", "attention_bias", "norm_topk_prob", "scoring_func"], ABSENT),
            "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1000.0},
            "max_position_embeddings": ABSENT,
        },
        **NO_DEFAULTS,
    ),
    Row(
        "rope_scaling",
        {"rope_parameters": ABSENT, "rope_scaling": YARN, "rope_theta": 500.0},
        "mlx-lm wants rope_parameters",
        **HF_ALONE,
    ),
    Row(
        "rope_yarn_no_original",
        {
            "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1000.0},
            "max_position_embeddings": 32,
        },
        "original_max_position_embeddings missing: 4096 in mlx-lm, max_position_embeddings in transformers",
        **HF,
    ),
    Row("mlp_layer_types", {"mlp_layer_types": ["sparse", "dense", "sparse"]}, "mlx-lm does not read the list", **HF_ALONE),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm does not read hidden_act", **HF),
    Row("converted", SMALL, dtype="float16", converted=True),
    quantized("affine_4_32", 4, 32, "affine", SMALL, head=True, converted=True),
]

GGUF = [
    gguf(changes={**IN_GGUF, "n_group": 1}, head=False, **HF_ALONE),
    gguf("shared", {**IN_GGUF, "indexer_types": ["full", "shared"]}, head=False, **SHARED),
]
