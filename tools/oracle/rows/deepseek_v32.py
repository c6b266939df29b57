"""The rows of the deepseek_v32 golden table."""

from .deepseek_v3 import BASE as V3
from .deepseek_v3 import YARN
from .deepseek_v3 import SMALL as V3_SMALL
from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized, scaling, yarn_without_length

BASE = {
    **V3,
    "architectures": ["DeepseekV32ForCausalLM"],
    "model_type": "deepseek_v32",
    "index_n_heads": 8,
    "index_head_dim": 16,
    "index_topk": 6,
}
SMALL = {**V3_SMALL, "intermediate_size": 32, "index_n_heads": 8, "index_head_dim": 8}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"qk_rope_head_dim": 32, "index_head_dim": 32}, "caches of these can be packed"),
    Row("attention_bias", {"attention_bias": True}),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row("topk_1", {"index_topk": 1}),
    Row("topk_20", {"index_topk": 20}),
    Row("all_keys", {"index_topk": 64}),
    Row("index_heads", {"index_n_heads": 12, "index_head_dim": 8}),
    Row("indexer_interleaved", {"indexer_rope_interleave": True}, "transformers does not read the key", readings="other"),
    Row("one_expert", {"num_experts_per_tok": 1}, "mlx-lm does not bring a single weight to one", **HF),
    Row("dense", {"n_routed_experts": ABSENT}, hf_changes={"first_k_dense_replace": 3}),
    Row("mlp_layer_types", {"mlp_layer_types": ["sparse", "dense", "sparse"]}, "mlx-lm does not read the list", **HF_ALONE),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm does not read hidden_act", **HF),
    Row("tied", {"tie_word_embeddings": True}, "mlx-lm has no tied head", head=False, **HF_ALONE),
    Row("rope_theta", {"rope_theta": 500.0}),
    Row(
        "rope_parameters",
        {"rope_parameters": {**YARN, "rope_theta": 500.0}, "rope_scaling": ABSENT, "rope_theta": ABSENT},
        "mlx-lm does not read rope_parameters",
        **HF,
    ),
    scaling("rope_yarn", YARN),
    yarn_without_length(),
    Row("bfloat16", SMALL, dtype="bfloat16"),
    Row("converted", SMALL, dtype="float16", converted=True),
    quantized("affine_4_32", 4, 32, "affine", SMALL, head=True, converted=True),
]

IN_GGUF = {
    **SMALL,
    "vocab_size": 288,
    "hidden_size": 16,
    "intermediate_size": 24,
    "moe_intermediate_size": 16,
    "tie_word_embeddings": True,
}
GGUF = [gguf(changes={**IN_GGUF, "rope_scaling": YARN}, head=False, **HF_ALONE)]
