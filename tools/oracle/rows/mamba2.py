"""The rows of the mamba2 golden table."""

from .row import ABSENT, HF, Row, gguf, quantized

BASE = {
    "architectures": ["Mamba2ForCausalLM"],
    "model_type": "mamba2",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_heads": 8,
    "head_dim": 8,
    "expand": 2,
    "n_groups": 2,
    "state_size": 16,
    "conv_kernel": 4,
    "use_bias": False,
    "use_conv_bias": True,
    "time_step_limit": [0.0, 100.0],
    "time_step_rank": "auto",
    "chunk_size": 8,
    "layer_norm_epsilon": 1e-5,
    "vocab_size": 128,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}
GROUPS = "mlx-lm's gated norm goes over all groups at once"
# With one group mlx-lm and transformers agree.
ONE = {"n_groups": 1}

ROWS = [
    Row("plain", note=GROUPS, **HF),
    Row("four_groups", {"n_groups": 4}, GROUPS, **HF),
    Row("one_group", ONE),
    Row("conv_3", {**ONE, "conv_kernel": 3}),
    Row("bias", {**ONE, "use_bias": True}),
    Row("no_conv_bias", {**ONE, "use_conv_bias": False}),
    Row(
        "step_limit",
        {**ONE, "time_step_limit": [0.65, 0.8]},
        "transformers has no limit in single steps",
        whole=True,
    ),
    Row(
        "step_limit_absent",
        {"time_step_limit": ABSENT},
        "mlx-lm needs it",
        reference="transformers",
        readings="mlx-lm refuses",
    ),
    Row("eps", {**ONE, "layer_norm_epsilon": 0.1}, "1e-5 in mlx-lm's first norms", **HF),
    Row("hidden_act", {**ONE, "hidden_act": "gelu"}, "mlx-lm's mamba2 does not read hidden_act", **HF),
    Row("tied", {**ONE, "tie_word_embeddings": True}, head=False),
    Row("bfloat16", ONE, "weights rounded to bfloat16, computed in float32", dtype="bfloat16"),
    Row("converted", ONE, dtype="float16", converted=True),
    quantized(
        "affine_4_32",
        4,
        32,
        "affine",
        ONE,
        "an in_proj 8 bits, an out_proj dense (false)",
        head=True,
        converted=True,
        per_layer={
            "backbone.layers.0.mixer.in_proj": {"group_size": 32, "bits": 8},
            "backbone.layers.1.mixer.out_proj": False,
        },
    ),
]

# The converter keeps to expand * hidden_size = num_heads * head_dim.
IN_GGUF = {"num_hidden_layers": 2}
GGUF = [
    gguf(changes=IN_GGUF, note=GROUPS, **HF),
    gguf("bias", {**IN_GGUF, **ONE, "use_bias": True, "conv_kernel": 3, "layer_norm_epsilon": 0.1}, **HF),
]
