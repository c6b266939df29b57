"""The rows of the gpt_oss golden table."""

import mlx.core as mx
import numpy as np
import torch
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from .row import ABSENT, HF, HF_ALONE, Packing, Row, gguf, quantized, scaling

YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": 64,
    "truncate": True,
}
BASE = {
    "architectures": ["GptOssForCausalLM"],
    "model_type": "gpt_oss",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 128,
    "num_local_experts": 8,
    "num_experts_per_tok": 3,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "rms_norm_eps": 1e-3,
    "rope_theta": 1000.0,
    "rope_scaling": YARN,
    "max_position_embeddings": 256,
    "hidden_act": "silu",
    "attention_bias": True,
    "swiglu_limit": 7.0,
    "tie_word_embeddings": False,
}


def for_mlx_lm(weights):
    """mlx-lm reads dense experts only as it converts them: (E, out, in), gate and up apart."""
    out = {}
    for name, w in weights.items():
        if ".mlp.experts." not in name:
            out[name] = w
            continue
        head, leaf = name.rsplit(".", 1)
        w, last = (w, ".bias") if leaf.endswith("_bias") else (w.swapaxes(1, 2), ".weight")
        if leaf.startswith("down_proj"):
            out[f"{head}.down_proj{last}"] = w
        else:
            out[f"{head}.gate_proj{last}"], out[f"{head}.up_proj{last}"] = w[:, ::2], w[:, 1::2]
    return out


def pack(weights):
    """Experts in OpenAI's blocks: 16 bytes for 32 numbers, the first in the low half of a byte."""
    out = {}
    for name, w in weights.items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            out[name] = w
            continue
        words, scales = mx.quantize(mx.contiguous(w.swapaxes(1, 2)), 32, 4, mode="mxfp4")
        out[name + "_blocks"] = words.view(mx.uint8).reshape(*scales.shape, 16)
        out[name + "_scales"] = scales
    return out


def unpack(weights):
    out = {k: v for k, v in weights.items() if not k.endswith(("_blocks", "_scales"))}
    for name, blocks in weights.items():
        if name.endswith("_blocks"):
            scales = weights[name.replace("_blocks", "_scales")]
            dense = convert_moe_packed_tensors(
                torch.from_numpy(np.array(blocks)), torch.from_numpy(np.array(scales)), dtype=torch.float32
            )
            out[name.removesuffix("_blocks")] = mx.array(dense.numpy())
    return out


MXFP4 = Packing(
    {
        "quant_method": "mxfp4",
        "modules_to_not_convert": [
            "model.layers.*.self_attn",
            "model.layers.*.mlp.router",
            "model.embed_tokens",
            "lm_head",
        ],
    },
    pack,
    unpack,
)
SMALL = {"num_local_experts": 4, "vocab_size": 64}
NO_MXFP4 = {"note": "dense experts; mlx-lm is given them as it would store them"}

ROWS = [
    Row("plain", **NO_MXFP4),
    Row("wide_heads", {"head_dim": 32, "num_attention_heads": 2, "num_key_value_heads": 1}, "caches of these can be packed"),
    Row("mxfp4", SMALL, packing=MXFP4, note="OpenAI's own layout"),
    Row("mxfp4_bfloat16", {**SMALL, "num_experts_per_tok": 4}, packing=MXFP4, dtype="bfloat16"),
    Row("mxfp4_converted", SMALL, packing=MXFP4, converted=True),
    Row("all_full", {"layer_types": ["full_attention", "full_attention"]}, "mlx-lm needs a layer of each type (ValueError)", **HF_ALONE),
    Row("layer_types_absent", {"layer_types": ABSENT, "num_hidden_layers": 4}),
    Row("one_expert", {"num_experts_per_tok": 1}),
    Row("limit", {"swiglu_limit": 0.05}, "mlx-lm's limit is 7 whatever the config says", **HF),
    Row("alpha", {"swiglu_alpha": 0.7}, "mlx-lm's slope is 1.702 whatever the config says", **HF),
    Row("no_attention_bias", {"attention_bias": False}, "mlx-lm always has biases", **HF_ALONE),
    Row("tied", {"tie_word_embeddings": True}, "mlx-lm has no tied head", head=False, **HF_ALONE),
    Row("window", {"sliding_window": 3}),
    Row("eps", {"rms_norm_eps": 0.1}),
    scaling("rope_no_truncate", {**YARN, "truncate": False}, "as published; mlx-lm ignores truncate", **HF),
    Row(
        "rope_absent",
        {"rope_scaling": ABSENT},
        "transformers: the published yarn; mlx-lm: none",
        **HF,
    ),
    scaling(
        "rope_no_original",
        {"rope_type": "yarn", "factor": 4.0},
        "original_max_position_embeddings missing: 4096 in mlx-lm, max_position_embeddings in transformers",
        config={"max_position_embeddings": 32},
        **HF,
    ),
    scaling("rope_default", {"rope_type": "default"}),
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
        note="as published: mxfp4 experts, an 8-bit router, the rest affine",
        per_layer={
            "model.layers.0.mlp.experts.gate_proj": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
            "model.layers.0.mlp.experts.up_proj": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
            "model.layers.0.mlp.experts.down_proj": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
            "model.layers.0.mlp.router": {"group_size": 32, "bits": 8},
        },
    ),
]

# As published: a GGUF file says nothing of `truncate`.
IN_GGUF = {"num_local_experts": 2, "num_experts_per_tok": 2, "rope_scaling": {**YARN, "truncate": False, "beta_fast": 8.0, "beta_slow": 0.5}}
GGUF = [gguf(changes=IN_GGUF, **HF), gguf("mxfp4", IN_GGUF, packing=MXFP4, **HF)]
