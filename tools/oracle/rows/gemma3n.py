"""The rows of the gemma3n golden table: the text part of a multimodal checkpoint."""

from .row import ABSENT, HF, HF_ALONE, Row, gguf, quantized

OUTER = {"architectures": ["Gemma3nForConditionalGeneration"], "model_type": "gemma3n"}
BASE = {
    "model_type": "gemma3n_text",
    "hidden_size": 64,  # its root, which scales the embeddings, is exact in bfloat16
    "num_hidden_layers": 4,
    "intermediate_size": [48, 48, 32, 32],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 128,
    "vocab_size_per_layer_input": 100,
    "hidden_size_per_layer_input": 16,
    "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": 8,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "rope_scaling": None,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-3,
    "attention_bias": False,
    "hidden_activation": "gelu_pytorch_tanh",
    "activation_sparsity_pattern": [0.9, 0.8, 0.0, 0.0],
    "altup_num_inputs": 3,
    "altup_active_idx": 0,
    "altup_coef_clip": 120.0,
    "altup_correct_scale": True,
    "laurel_rank": 8,
    "final_logit_softcapping": 8.0,
    "pad_token_id": 0,
}
TIED = {"head": False}
SMALL = {
    "hidden_size": 32,
    "head_dim": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "num_hidden_layers": 3,
    "intermediate_size": 32,
    "layer_types": ["sliding_attention", "full_attention", "full_attention"],
    "num_kv_shared_layers": 1,
    "activation_sparsity_pattern": [0.9, 0.0, 0.0],
    "altup_num_inputs": 2,
    "laurel_rank": 32,
    "vocab_size_per_layer_input": 64,
    "vocab_size": 128,
}


def disk_name(name):
    return name.replace("model.", "model.language_model.", 1)


def for_mlx_lm(weights):
    """mlx-lm wants keys of the layers that read those of others, too, as published files have them."""
    out = dict(weights)
    for name in weights:
        if not name.endswith(".self_attn.q_proj.weight"):
            continue
        layer = name.removesuffix("q_proj.weight")
        first = disk_name("model.layers.0.self_attn.")
        for leaf in ("k_proj.weight", "v_proj.weight", "k_norm.weight"):
            out.setdefault(layer + leaf, weights[first + leaf])
    return out


TOWERS = ("vision_tower", "audio_tower", "embed_vision", "embed_audio")
BESIDE = {f"model.{tower}.patch.weight": (8, 3) for tower in TOWERS}

ROWS = [
    Row("plain", **TIED),
    Row("whole", note="tensors for images and sound", beside=BESIDE, **TIED),
    Row("eps", {"rms_norm_eps": 0.1}, **TIED),
    Row("window", {"sliding_window": 5}, **TIED),
    Row("theta", {"rope_theta": 500.0}, **TIED),
    Row("local_theta", {"rope_local_base_freq": 100.0}, **TIED),
    Row("rope_linear", {"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, "not read by mlx-lm", **TIED, **HF),
    Row(
        "rope_yarn",
        {
            "rope_scaling": {"rope_type": "yarn", "factor": 4.0},
            "rope_theta": 10000.0,
            "max_position_embeddings": 32,
        },
        "not read by mlx-lm",
        **TIED,
        **HF,
    ),
    Row(
        "rope_parameters",
        {
            "rope_theta": ABSENT,
            "rope_local_base_freq": ABSENT,
            "rope_scaling": ABSENT,
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
            },
        },
        "mlx-lm requires the older keys",
        **TIED,
        **HF_ALONE,
    ),
    Row("one_intermediate_size", {"intermediate_size": 40}, **TIED),
    Row("nothing_shared", {"num_kv_shared_layers": 0}, **TIED),
    Row("dense", {"activation_sparsity_pattern": [0.0] * 4}, **TIED),
    Row("four_streams", {"altup_num_inputs": 4, "altup_active_idx": 1}, **TIED),
    Row("not_scaled", {"altup_correct_scale": False}, **TIED),
    Row("clip", {"altup_coef_clip": 0.1}, "mlx-lm clips; transformers only in training", **TIED, **HF),
    Row("softcap", {"final_logit_softcapping": 3.0}, **TIED),
    Row("attention_bias", {"attention_bias": True}, "not read by mlx-lm", **TIED, **HF_ALONE),
    Row("hidden_activation", {"hidden_activation": "silu"}, "not read by mlx-lm", **TIED, **HF),
    Row("untied", {"tie_word_embeddings": False}, "mlx-lm has no head", **HF_ALONE),
    Row(
        "defaults",
        {
            "num_hidden_layers": 2,
            "num_kv_shared_layers": 0,
            "intermediate_size": 32,
            **{
                key: ABSENT
                for key in (
                    "num_attention_heads num_key_value_heads head_dim hidden_size_per_layer_input layer_types "
                    "sliding_window rope_theta rope_local_base_freq rope_scaling max_position_embeddings rms_norm_eps "
                    "attention_bias hidden_activation activation_sparsity_pattern altup_num_inputs altup_active_idx "
                    "altup_coef_clip altup_correct_scale laurel_rank final_logit_softcapping"
                ).split()
            },
        },
        "mlx-lm requires most keys",
        **TIED,
        **HF_ALONE,
    ),
    Row(
        "defaults_of_layers",
        {
            "hidden_size": 32,
            "num_hidden_layers": 21,
            "intermediate_size": 256,  # few would leave tokens without an open gate: noise, scaled up
            "num_kv_shared_layers": ABSENT,
            "layer_types": ABSENT,
            "activation_sparsity_pattern": ABSENT,
        },
        "15 layers read the keys of others, 4 have a window to one without, 10 are sparse",
        **TIED,
        **HF_ALONE,
    ),
    Row("converted", {**SMALL, "hidden_size": 16, "head_dim": 8}, dtype="bfloat16", converted=True, **TIED),
    Row("bfloat16", dtype="bfloat16", note="weights rounded to bfloat16, computed in float32", **TIED),
    quantized("affine_4_32", 4, 32, "affine", SMALL, converted=True),
]

# llama.cpp has four streams.
IN_GGUF = {
    "hidden_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": [24, 24, 16, 16],
    "altup_num_inputs": 4,
    "vocab_size_per_layer_input": 288,
    "hidden_size_per_layer_input": 4,
}
GGUF = [gguf(changes=IN_GGUF, kind="f32", dtype="float32", **TIED)]
