"""The rows of the llama golden table."""

from .row import ABSENT, HF, HF_ALONE, Row, quantized, scaling, yarn_without_length

BASE = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 128,
    "rms_norm_eps": 1e-3,
    "rope_theta": 10000.0,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0, 1.05, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0],
    "long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0],
}
SLIDING = {"num_hidden_layers": 4, "sliding_window": 8}
MIXED = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]

ROWS = [
    Row("plain"),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("mistral", {"model_type": "mistral", "sliding_window": None}, hf_type="mistral"),
    Row(
        "mistral_window",
        {"model_type": "mistral", "sliding_window": 8},
        "mlx-lm ignores sliding_window without layer_types; transformers applies it to every layer",
        hf_type="mistral",
        **HF,
    ),
    Row("iquestcoder", {"model_type": "iquestcoder"}, hf_type="llama"),
    Row("tied", {"tie_word_embeddings": True}, head=False),
    Row(
        "tied_extra_head",
        {"tie_word_embeddings": True},
        "lm_head.weight is there though the config says tied: mlx-lm drops it; transformers 5 uses it "
        "when it differs from the embedding (with equal values, as real files have it, both agree)",
        readings="other",
    ),
    Row(
        "tie_absent_with_head",
        {"tie_word_embeddings": ABSENT},
        "default of tie_word_embeddings: true in mlx-lm (drops lm_head.weight), false in "
        "transformers (uses it)",
        **HF,
    ),
    Row(
        "tie_absent_no_head",
        {"tie_word_embeddings": ABSENT},
        "transformers would start lm_head at random, so it is told true here",
        head=False,
        hf_changes={"tie_word_embeddings": True},
    ),
    Row(
        "defaults",
        {k: ABSENT for k in ["rope_theta", "num_key_value_heads", "attention_bias", "mlp_bias"]},
        "keys left out: rope_theta, num_key_value_heads, head_dim, attention_bias, mlp_bias",
    ),
    Row("head_dim", {"head_dim": 24}, "head_dim * heads (96) is not hidden_size (64)"),
    Row("head_dim_null", {"head_dim": None}),
    Row("attention_bias", {"attention_bias": True}, "bias on q, k, v and o"),
    Row("mlp_bias", {"mlp_bias": True}),
    Row("all_bias", {"attention_bias": True, "mlp_bias": True}),
    Row("kv_null", {"num_key_value_heads": None}),
    Row("kv_one", {"num_key_value_heads": 1}),
    Row("rope_theta", {"rope_theta": 500000.0}),
    Row("eps", {"rms_norm_eps": 0.1}),
    Row(
        "rope_traditional",
        {"rope_traditional": True},
        "only mlx-lm reads the key; transformers is given q and k with rows reordered",
    ),
    scaling("rope_default", {"rope_type": "default"}),
    scaling("rope_linear", {"rope_type": "linear", "factor": 4.0}),
    scaling("rope_linear_old", {"type": "linear", "factor": 4.0}, "old spelling: type"),
    scaling("rope_dynamic_inside", {"rope_type": "dynamic", "factor": 2.0}),
    scaling(
        "rope_dynamic_beyond",
        {"rope_type": "dynamic", "factor": 2.0},
        "the base follows the length of each pass: prefill in one call, then single steps whose "
        "keys keep the base of their own pass",
        config={"max_position_embeddings": 16},
    ),
    scaling("rope_llama3", LLAMA3),
    scaling("rope_yarn", YARN),
    scaling("rope_yarn_betas", {**YARN, "beta_fast": 3.0, "beta_slow": 0.5}),
    scaling("rope_yarn_mscale", {**YARN, "mscale": 1.0, "mscale_all_dim": 0.8}),
    scaling("rope_yarn_mscale_equal", {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0}),
    scaling(
        "rope_yarn_mscale_alone",
        {**YARN, "mscale": 0.7},
        "transformers ignores mscale without mscale_all_dim; mlx-lm uses it",
        **HF,
    ),
    scaling(
        "rope_yarn_attention_factor",
        {**YARN, "attention_factor": 1.3},
        "mlx-lm ignores attention_factor",
        **HF,
    ),
    scaling(
        "rope_yarn_no_truncate",
        {**YARN, "truncate": False},
        "mlx-lm ignores truncate (gpt-oss checkpoints set it false)",
        **HF,
    ),
    yarn_without_length(),
    scaling(
        "rope_longrope_short",
        {**LONGROPE, "original_max_position_embeddings": 64},
        "mlx-lm always takes long_factor; transformers takes short_factor inside the window",
        **HF,
    ),
    scaling(
        "rope_longrope_long",
        {**LONGROPE, "original_max_position_embeddings": 16},
        "a pass that ends beyond the original window: long_factor for all its positions",
    ),
    scaling(
        "rope_longrope_factor",
        {**LONGROPE, "original_max_position_embeddings": 16, "factor": 2.0},
        "factor in place of the ratio of the two lengths; mlx-lm ignores it",
        **HF,
    ),
    scaling(
        "rope_longrope_attention_factor",
        {**LONGROPE, "original_max_position_embeddings": 16, "attention_factor": 1.25},
        "mlx-lm ignores attention_factor",
        **HF,
    ),
    Row(
        "rope_parameters_default",
        {
            "rope_theta": ABSENT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0},
        },
        "transformers 5 spelling; mlx-lm's llama does not read rope_parameters",
        **HF,
    ),
    Row(
        "rope_parameters_llama3",
        {"rope_theta": ABSENT, "rope_parameters": {**LLAMA3, "rope_theta": 500000.0}},
        "transformers 5 spelling; mlx-lm's llama does not read rope_parameters",
        **HF,
    ),
    Row(
        "rope_parameters_both_thetas",
        {"rope_theta": 100.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500000.0}},
        "the rope_theta inside rope_parameters wins over the one outside",
        **HF,
    ),
    Row(
        "rope_parameters_outer_theta",
        {"rope_theta": 500000.0, "rope_parameters": {"rope_type": "linear", "factor": 4.0}},
        "no rope_theta inside: the one outside holds",
        **HF,
    ),
    Row(
        "sliding",
        {**SLIDING, "layer_types": MIXED},
        "transformers' llama has no layer_types; its ministral is the second opinion",
        hf_type="ministral",
    ),
    Row("sliding_wide", {**SLIDING, "layer_types": MIXED, "sliding_window": 64}, hf_type="ministral"),
    Row(
        "sliding_all",
        {**SLIDING, "layer_types": ["sliding_attention"] * 4},
        "mlx-lm needs one full_attention layer (ValueError)",
        hf_type="ministral",
        **HF_ALONE,
    ),
    Row("float16", dtype="float16", note="weights rounded to float16, computed in float32"),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32"),
]

# Quantised rows: the packed tensors stand in llama_<row>_weights.safetensors (an mlx-lm
# model.safetensors). One layer, tied, sized so that the file stays small.
SMALL = {"num_hidden_layers": 1, "intermediate_size": 64, "tie_word_embeddings": True}
WIDE = {  # in-dimensions of 128, everything else as small as it can be
    "num_hidden_layers": 1,
    "hidden_size": 128,
    "intermediate_size": 128,
    "num_attention_heads": 16,
    "num_key_value_heads": 1,
    "vocab_size": 32,
    "tie_word_embeddings": True,
}


ROWS += [
    quantized(f"affine_{bits}_{group}", bits, group, "affine", WIDE if group == 128 else SMALL)
    for group in (32, 64, 128)
    for bits in (2, 3, 4, 5, 6, 8)
]
ROWS += [
    quantized("npz", 4, 64, "affine", SMALL, note="stored by mx.savez", npz=True),
    quantized("mxfp4", 4, 32, "mxfp4", SMALL),
    quantized("mxfp8", 8, 32, "mxfp8", SMALL),
    quantized("nvfp4", 4, 16, "nvfp4", SMALL),
    quantized(
        "float16_scales", 4, 64, "affine", SMALL, note="float16 scales and norms, computed in float32", dtype="float16"
    ),
    quantized(
        "bfloat16_scales", 4, 64, "affine", SMALL, note="bfloat16 scales and norms, computed in float32", dtype="bfloat16"
    ),
    quantized(
        "per_layer",
        4,
        32,
        "affine",
        SMALL,
        note="embed_tokens 8 bits group 64, down_proj mxfp4, q_proj 3 bits, v_proj dense (false)",
        per_layer={
            "model.embed_tokens": {"group_size": 64, "bits": 8},
            "model.layers.0.mlp.down_proj": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
            "model.layers.0.self_attn.q_proj": {"group_size": 64, "bits": 3, "mode": "affine"},
            "model.layers.0.self_attn.v_proj": False,
        },
    ),
    quantized(
        "untied_bias",
        4,
        32,
        "affine",
        head=True,
        size={**SMALL, "tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
        note="quantised lm_head, float32 biases beside quantised weights (.bias is the layer's, "
        ".biases the quantiser's)",
    ),
]
ROWS.append(
    quantized(
        "inferred",
        4,
        64,
        "affine",
        SMALL,
        note="config.json names one width (4 bits, group 64); the file holds others, which mlx-lm "
        "infers from shapes and the dtype of scales: q_proj 8 bits group 32, k_proj mxfp4, "
        "gate_proj mxfp8, up_proj nvfp4, down_proj dense without an entry",
        per_layer={
            "model.layers.0.self_attn.q_proj": {"group_size": 32, "bits": 8},
            "model.layers.0.self_attn.k_proj": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
            "model.layers.0.mlp.gate_proj": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
            "model.layers.0.mlp.up_proj": {"group_size": 16, "bits": 4, "mode": "nvfp4"},
            "model.layers.0.mlp.down_proj": False,
        },
        quantize_config={"group_size": 64, "bits": 4},
    )
)
