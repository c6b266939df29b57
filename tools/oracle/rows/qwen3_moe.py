"""The rows of the qwen3_moe golden table."""

from .llama import YARN
from .qwen3 import BASE as QWEN3
from .row import HF, Row, gguf, quantized, scaling, yarn_without_length

BASE = {
    **QWEN3,
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 32,
    "head_dim": 16,
    "intermediate_size": 48,
    "moe_intermediate_size": 32,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}

ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("not_normalised", {"norm_topk_prob": False}),
    Row("dense_layers", {"mlp_only_layers": [0]}),
    Row("sparse_step", {"decoder_sparse_step": 2}),
    Row("one_expert", {"num_experts_per_tok": 1}),
    Row("tied", {"tie_word_embeddings": True, "num_hidden_layers": 1}, head=False),
    scaling("rope_yarn", YARN, "mlx-lm's qwen3_moe does not read rope_scaling", **HF),
    yarn_without_length(),
    Row("hidden_act", {"hidden_act": "gelu"}, "mlx-lm's qwen3_moe does not read hidden_act", **HF),
    Row(
        "sliding",
        {"use_sliding_window": True},
        "every layer has a window; mlx-lm reads no windows",
        **HF,
    ),
    Row("converted", {"num_hidden_layers": 1}, dtype="float16", converted=True),
    quantized("affine_4_32", 4, 32, "affine", {"num_hidden_layers": 1}, head=True, converted=True),
]

IN_GGUF = {"num_experts": 4, "num_hidden_layers": 1, "attention_bias": False}
IN_WIDE_GGUF = {
    **IN_GGUF,
    "hidden_size": 256,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_experts": 3,
    "tie_word_embeddings": True,
}
GGUF = [
    gguf(changes=IN_GGUF),
    gguf("q8_0", IN_GGUF, "the experts are blocks, too", kind="q8_0", dtype="float32"),
    gguf("q3_k", IN_WIDE_GGUF, "experts of K-quants, IQ4_NL where rows are short", kind="q3_k", dtype="float32", head=False),
    gguf("tied", {**IN_GGUF, "tie_word_embeddings": True}, head=False),
]
