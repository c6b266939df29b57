"""Rope frequencies of every scaling kind: tests/data/nn/rope.json.

`inv_freq` and `attention_factor` are transformers' (ROPE_INIT_FUNCTIONS, float32 arithmetic,
printed in full); `mlx_lm_inv_freq` and `mlx_lm_scale` are mlx-lm's rope_utils. The angle of pair i
at position p is p * inv_freq[i]; cos and sin (or the rotated part of q and k) are multiplied by
attention_factor.

    python tools/oracle/rope.py
"""

from common import DATA, command, save_json, versions
from rows.llama import LLAMA3, LONGROPE, YARN

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import torch
from mlx_lm.models.rope_utils import DynamicNTKScalingRoPE, initialize_rope
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding


def case(name, scaling, dims=16, theta=10000.0, max_position=128, seq_len=None, note=""):
    scaling = scaling or {"rope_type": "default"}
    kind = scaling.get("rope_type") or scaling["type"]
    config = LlamaConfig(
        hidden_size=dims * 2,
        num_attention_heads=2,
        head_dim=dims,
        max_position_embeddings=max_position,
        rope_parameters={**scaling, "rope_type": kind, "rope_theta": theta},
    )
    if kind == "default":
        inv_freq, factor = LlamaRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        length = torch.tensor(seq_len) if seq_len is not None else None
        inv_freq, factor = ROPE_INIT_FUNCTIONS[kind](config, None, seq_len=length)
    mlx_inv_freq, mlx_scale = from_mlx_lm(scaling, dims, theta, max_position, seq_len)
    inv_freq = inv_freq.numpy().astype(np.float64)
    same = np.allclose(inv_freq, mlx_inv_freq, rtol=1e-5) and np.isclose(factor, mlx_scale, rtol=1e-6)
    return {
        "name": name,
        "dims": dims,
        "rope_theta": theta,
        "max_position_embeddings": max_position,
        "rope_scaling": scaling,
        "seq_len": seq_len,
        "inv_freq": inv_freq.tolist(),
        "attention_factor": float(factor),
        "mlx_lm_inv_freq": mlx_inv_freq.tolist(),
        "mlx_lm_scale": float(mlx_scale),
        "same": bool(same),
        "note": note,
    }


def from_mlx_lm(scaling, dims, theta, max_position, seq_len):
    rope = initialize_rope(dims, theta, False, scaling, max_position)
    if isinstance(rope, nn.RoPE):
        base, scale = rope.base, rope.scale
    elif isinstance(rope, DynamicNTKScalingRoPE):
        length, scale = max(seq_len or 0, max_position), 1.0
        base = theta * (rope.factor * length / max_position - (rope.factor - 1)) ** (dims / (dims - 2))
    else:
        freqs = np.array(rope._freqs.astype(mx.float32)).astype(np.float64)
        return 1.0 / freqs, getattr(rope, "_scale", getattr(rope, "mscale", 1.0))
    return scale * base ** -(np.arange(0, dims, 2, dtype=np.float64) / dims), 1.0


def long_rope(original, **extra):
    return {**LONGROPE, "original_max_position_embeddings": original, **extra}


def phi(original):
    """A phi-3-like table: 48 factors that rise from 1."""
    ramp = [round(1 + 0.05 * i, 2) for i in range(48)]
    return {
        "rope_type": "longrope",
        "short_factor": ramp,
        "long_factor": [round(1 + 0.0125 * i * i, 4) for i in range(48)],
        "original_max_position_embeddings": original,
    }


def cases():
    dynamic = {"rope_type": "dynamic", "factor": 2.0}
    yield case("default", None)
    yield case("default_smollm2", None, dims=64, theta=100000.0, max_position=8192)
    yield case("linear", {"rope_type": "linear", "factor": 4.0})
    for seq_len in (None, 100, 128, 129, 200, 1000):
        yield case(f"dynamic_{seq_len or 'start'}", dynamic, seq_len=seq_len)
    yield case("dynamic_64", dynamic, dims=64, theta=500000.0, max_position=2048, seq_len=8192)
    yield case("llama3", LLAMA3)
    yield case(
        "llama3_8b",
        {**LLAMA3, "original_max_position_embeddings": 8192},
        dims=128,
        theta=500000.0,
        max_position=131072,
    )
    yield case("yarn", YARN)
    yield case("yarn_betas", {**YARN, "beta_fast": 3.0, "beta_slow": 0.5})
    yield case("yarn_mscale", {**YARN, "mscale": 1.0, "mscale_all_dim": 0.8})
    yield case("yarn_mscale_equal", {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0})
    yield case("yarn_mscale_alone", {**YARN, "mscale": 0.7}, note="mlx-lm uses mscale alone")
    yield case(
        "yarn_mscale_all_dim_alone",
        {**YARN, "mscale_all_dim": 0.7},
        note="mlx-lm divides by it with mscale 1",
    )
    yield case("yarn_mscale_zero", {**YARN, "mscale": 0.0, "mscale_all_dim": 0.0}, note="zero is not given")
    yield case("yarn_attention_factor", {**YARN, "attention_factor": 1.3}, note="mlx-lm ignores it")
    yield case("yarn_no_truncate", {**YARN, "truncate": False}, note="mlx-lm ignores truncate")
    yield case("yarn_factor_1", {**YARN, "factor": 1.0})
    yield case(
        "yarn_no_original",
        {"rope_type": "yarn", "factor": 4.0},
        note="4096 in mlx-lm, max_position_embeddings in transformers",
    )
    yield case(
        "yarn_qwen",
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
        dims=128,
        theta=1000000.0,
        max_position=32768,
    )
    yield case(
        "yarn_gpt_oss",
        {
            "rope_type": "yarn",
            "factor": 32.0,
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        dims=64,
        theta=150000.0,
        max_position=131072,
        note="mlx-lm ignores truncate",
    )
    for seq_len in (16, 64, 65):
        yield case(f"longrope_{seq_len}", long_rope(64), seq_len=seq_len, note="mlx-lm: always long")
    yield case("longrope_factor", long_rope(64, factor=3.0), seq_len=65, note="mlx-lm ignores factor")
    yield case(
        "longrope_attention_factor",
        long_rope(64, attention_factor=1.25),
        seq_len=65,
        note="mlx-lm ignores attention_factor",
    )
    yield case("longrope_no_longer", long_rope(128), seq_len=16, note="mlx-lm: always long")
    for seq_len in (4096, 4097):
        yield case(f"longrope_phi_{seq_len}", phi(4096), 96, 10000.0, 131072, seq_len, "mlx-lm: always long")
    yield case("proportional", {"rope_type": "proportional"})
    quarter = {"rope_type": "proportional", "partial_rotary_factor": 0.25}
    yield case("proportional_gemma4", quarter, dims=512, theta=1000000.0, max_position=131072)
    yield case("proportional_factor", {**quarter, "factor": 4.0})
    yield case("proportional_odd", {**quarter, "partial_rotary_factor": 0.7}, note="mlx-lm turns one pair more")
    yield case("proportional_still", {**quarter, "partial_rotary_factor": 0.0})


def main():
    out = {
        "versions": versions("mlx", "mlx-lm", "transformers", "torch", "numpy"),
        "command": command(),
        "tolerance": "1e-5 relative (both sides compute in float32)",
        "note": "seq_len null: the frequencies before any forward pass. `same`: the two agree",
        "cases": list(cases()),
    }
    save_json(DATA / "nn" / "rope.json", out)
    for c in out["cases"]:
        print(f"{c['name']:28} {c['same']!s:6} {c['attention_factor']:.6f} {c['mlx_lm_scale']:.6f} {c['note']}")


if __name__ == "__main__":
    main()
