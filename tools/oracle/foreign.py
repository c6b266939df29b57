#!/usr/bin/env python3
"""Golden rows of checkpoints that other programs packed: lm/<model>_foreign_<name>.safetensors + _weights.

    python tools/oracle/foreign.py [NAME ...]      all by default

Packed after the published packers: AutoAWQ 0.2.9 (WQLinear_GEMM.from_linear), AutoGPTQ 0.7.1
(QuantLinear.pack) and GPTQModel 7.7.0 (its v2 zeros); compressed-tensors by the package itself.
`logits` are transformers' in float32 on the values that the packed numbers stand for. mlx-lm is the
second opinion where it reads the file.
"""

import copy
import json
import sys

from common import DATA, check_size, save_golden, value, versions
from golden import (TOLERANCE, Mlx, Transformers, dense_weights, difference, prompt_ids, row_shapes, run, run_chunked,
                    smallest_gap, table)
from rows import deepseek_v3, llama
from rows.row import Row

import mlx.core as mx
import numpy as np
import torch
from compressed_tensors.compressors.nvfp4.base import NVFP4PackedCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import load_file, save_file

SMALL = {"num_hidden_layers": 1, "vocab_size": 64}
WIDE = {**SMALL, "hidden_size": 128, "intermediate_size": 128}
FEW_EXPERTS = {
    **deepseek_v3.SMALL,
    "model_type": "deepseek_v3",
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 160,
}
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # nibble i of a word holds column AWQ_ORDER[i]


def spread(name, w, group):
    """`w` with a shift for each group, so that zero points are not all in the middle."""
    out, columns = w.shape
    shift = 0.2 * value(name + ".shift", out * (columns // group)).reshape(out, -1)
    return w + np.repeat(shift, group, axis=1)


def quantised(w, group, symmetric, lowest=0):
    """codes (out, in), zeros (out, groups) and float16 scales (out, groups) of 4 bits."""
    g = w.reshape(w.shape[0], -1, group)
    if symmetric:
        scales = (np.abs(g).max(-1) / 7).astype(np.float16)
        zeros = np.full(scales.shape, 8)
    else:
        low, high = np.minimum(g.min(-1), 0), np.maximum(g.max(-1), 0)
        scales = ((high - low) / 15).astype(np.float16)
        zeros = np.clip(np.round(-low / scales.astype(np.float32)), lowest, 15).astype(int)
    codes = np.clip(np.round(g / scales.astype(np.float32)[..., None]) + zeros[..., None], 0, 15)
    return codes.astype(int).reshape(w.shape), zeros, scales


def meaning(codes, zeros, scales):
    group = codes.shape[1] // scales.shape[1]
    wide = lambda a: np.repeat(a, group, axis=1).astype(np.float64)
    return ((codes - wide(zeros)) * wide(scales)).astype(np.float32)


def words(nibbles, order=range(8)):
    """Every eight along the last axis become an int32: nibble i is element order[i]."""
    eight = nibbles.reshape(*nibbles.shape[:-1], -1, 8)[..., list(order)].astype(np.uint32)
    return (eight << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32).view(np.int32)


def t(a):
    return torch.from_numpy(np.ascontiguousarray(a))


def awq(name, w, group, **_):
    codes, zeros, scales = quantised(spread(name, w, group), group, False)
    return meaning(codes, zeros, scales), {
        "qweight": t(words(codes.T, AWQ_ORDER)),
        "qzeros": t(words(zeros.T, AWQ_ORDER)),
        "scales": t(scales.T),
    }


def gptq(name, w, group, symmetric=False, v2=False, extras=True, **_):
    columns = w.shape[1]
    group = columns if group == -1 else group
    codes, zeros, scales = quantised(spread(name, w, group), group, symmetric, lowest=0 if v2 else 1)
    stored = {
        "qweight": t(words(codes).T),  # eight rows of (in, out) in a word
        "qzeros": t(words((zeros if v2 else zeros - 1).T)),
        "scales": t(scales.T),
    }
    if extras:  # AutoGPTQ writes these whatever the model has
        stored["g_idx"] = torch.arange(columns, dtype=torch.int32) // group
        stored["bias"] = torch.zeros(w.shape[0], dtype=torch.float16)
    return meaning(codes, zeros, scales), stored


def pack_quantized(name, w, group, bits=4, symmetric=True, **_):
    columns = w.shape[1]
    strategy = "channel" if group == -1 else "group"
    size = columns if group == -1 else group
    args = QuantizationArgs(num_bits=bits, symmetric=symmetric, strategy=strategy,
                            group_size=None if group == -1 else group)
    w = spread(name, w, size)
    g = w.reshape(w.shape[0], -1, size)
    top = 2 ** (bits - 1) - 1
    scales = np.abs(g).max(-1) / top
    zeros = np.zeros(scales.shape, np.int8)
    if not symmetric:
        low, high = np.minimum(g.min(-1), 0), np.maximum(g.max(-1), 0)
        scales = (high - low) / (2 * top + 1)
        zeros = np.clip(np.round(-low / scales) - top - 1, -top - 1, top).astype(np.int8)
    state = {"weight": t(w), "weight_scale": t(scales.astype(np.float32)).to(torch.bfloat16),
             "weight_zero_point": t(zeros)}
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    packed = PackedQuantizationCompressor.compress(state, scheme)
    scale = packed["weight_scale"].float().numpy()
    codes = unpack_from_int32(packed["weight_packed"], bits, torch.Size(w.shape)).numpy()
    return meaning(codes.astype(int), zeros, scale), packed


def nvfp4(name, w, **_):
    args = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="tensor_group", group_size=16,
                            scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    over_all = np.float32(448 * 6) / np.abs(w).max()
    local = (np.abs(w.reshape(w.shape[0], -1, 16)).max(-1) / 6 * over_all).astype(np.float32)
    state = {"weight": t(w), "weight_scale": t(local).to(torch.float8_e4m3fn).float(),
             "weight_global_scale": torch.tensor([over_all], dtype=torch.float32)}
    packed = NVFP4PackedCompressor.compress(state, scheme)
    packed["input_global_scale"] = torch.tensor([3.0])
    codes = unpack_fp4_from_uint8(packed["weight_packed"], *w.shape, dtype=torch.float32).numpy()
    scales = packed["weight_scale"].float().numpy() / over_all
    return codes * np.repeat(scales, 16, axis=1), packed


def fp8(name, w, block=None, scale_name="weight_scale_inv", **_):
    rows, columns = w.shape
    m, n = block or w.shape
    grid = np.zeros((-(-rows // m), -(-columns // n)), np.float32)
    codes, dense = torch.zeros(w.shape, dtype=torch.float8_e4m3fn), np.zeros_like(w)
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            at = np.s_[i * m : (i + 1) * m, j * n : (j + 1) * n]
            grid[i, j] = np.abs(w[at]).max() / 448
            codes[at] = t(w[at] / grid[i, j]).to(torch.float8_e4m3fn)
            dense[at] = (codes[at].float() * float(grid[i, j])).to(torch.bfloat16).float().numpy()
    scale = t(grid) if block else torch.tensor(grid[0, 0])
    return dense, {"weight": codes, scale_name: scale, **({} if block else {"input_scale": torch.tensor(1.5)})}


def config_awq(group, skipped):
    return {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemm", "zero_point": True,
            "modules_to_not_convert": skipped or None}


def config_gptq(group, symmetric=False, v2=False):
    return {"quant_method": "gptq", "bits": 4, "group_size": group, "sym": symmetric, "desc_act": False,
            "damp_percent": 0.01, "true_sequential": True, **({"checkpoint_format": "gptq_v2"} if v2 else {})}


def config_ct(fmt, **weights):
    base = {"actorder": None, "block_structure": None, "dynamic": False, "observer": "minmax", "observer_kwargs": {}}
    group = {"input_activations": None, "output_activations": None, "targets": ["Linear"],
             "weights": {**base, **weights}}
    return {"quant_method": "compressed-tensors", "format": fmt, "config_groups": {"group_0": group},
            "ignore": ["lm_head"], "kv_cache_scheme": None, "quantization_status": "compressed",
            "global_compression_ratio": None}


def int_weights(group, bits=4, symmetric=True):
    return {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "channel" if group == -1 else "group",
            "group_size": None if group == -1 else group}


def config_fp8(block):
    return {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic" if block else "static",
            "weight_block_size": block}


SKIPPED = "model.layers.0.mlp.down_proj"
LATENT = ["q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj"]
MLP = ["gate_proj", "up_proj", "down_proj"]
ALL_BUT_EXPERTS = [
    *(f"model.layers.{i}.self_attn.{name}" for i in range(2) for name in LATENT),
    *(f"model.layers.{path}.{name}" for path in ("0.mlp", "1.mlp.shared_experts") for name in MLP),
]
ROWS = {
    # name: (packer, its settings, quantization_config, changes of the model's config, dense projections)
    "awq": (awq, {"group": 32}, config_awq(32, [SKIPPED]), {}, [SKIPPED]),
    "awq_128": (awq, {"group": 128}, config_awq(128, None), WIDE, []),
    "gptq": (gptq, {"group": 32}, config_gptq(32), {}, []),
    "gptq_128": (gptq, {"group": 128, "symmetric": True, "extras": False}, config_gptq(128, True), WIDE, []),
    "gptq_column": (gptq, {"group": -1, "symmetric": True}, config_gptq(-1, True), {**SMALL, "intermediate_size": 192},
                    []),
    "gptq_v2": (gptq, {"group": 64, "v2": True}, config_gptq(64, v2=True), {**SMALL, "intermediate_size": 128}, []),
    "ct_int4": (pack_quantized, {"group": 128}, config_ct("pack-quantized", **int_weights(128)), WIDE, []),
    "ct_int4_asym": (pack_quantized, {"group": 32, "symmetric": False},
                     config_ct("pack-quantized", **int_weights(32, symmetric=False)), {}, []),
    "ct_int4_channel": (pack_quantized, {"group": -1}, config_ct("pack-quantized", **int_weights(-1)), SMALL, []),
    "ct_int8": (pack_quantized, {"group": -1, "bits": 8}, config_ct("pack-quantized", **int_weights(-1, 8)), SMALL, []),
    "nvfp4": (nvfp4, {}, config_ct("nvfp4-pack-quantized", num_bits=4, type="float", symmetric=True,
                                   strategy="tensor_group", group_size=16), {}, []),
    "fp8": (fp8, {"block": [64, 64]}, config_fp8([64, 64]), SMALL, []),
    "fp8_tensor": (fp8, {"scale_name": "weight_scale"}, config_fp8(None), SMALL, []),
    # As Moonshot publishes Kimi K2 Thinking: experts alone are packed.
    "ct_int4_experts": (pack_quantized, {"group": 32}, config_ct("pack-quantized", **int_weights(32)),
                        {**deepseek_v3.SMALL, "model_type": "deepseek_v3"}, ALL_BUT_EXPERTS),
    # As DeepSeek publishes it: projections of more than one block, and one of less.
    "fp8_128": (fp8, {"block": [128, 128]}, config_fp8([128, 128]), FEW_EXPERTS, []),
}


def pack(packer, settings, plain, dense_paths, dtype):
    stored, dense = {}, {}
    for name, w in plain.items():
        base, leaf = name.rsplit(".", 1)
        w = np.array(w)
        if not base.endswith("_proj") or base in dense_paths:
            stored[name] = t(w).to(dtype)
            dense[name] = mx.array(stored[name].float().numpy())
            continue
        numbers, packed = packer(base, w, **settings)
        dense[name] = mx.array(numbers)
        stored.update({f"{base}.{k}": v for k, v in packed.items()})
    return stored, dense


def second_opinion(config, path):
    """mlx-lm on the packed file, and what it says when it does not read it."""
    weights = {k: v for k, v in mx.load(str(path)).items()}
    try:
        return Mlx(config, weights), ""
    except (ValueError, KeyError, TypeError) as e:
        return None, (str(e) or type(e).__name__).splitlines()[0][:200]


def make_row(name, folder):
    packer, settings, quantization, changes, dense_paths = ROWS[name]
    model = {"deepseek_v3": deepseek_v3, "llama": llama}[changes.get("model_type", "llama")]
    row = Row(f"foreign_{name}", changes)
    row.base, row.architecture = model.BASE, model.BASE["model_type"]
    file = f"{row.architecture}_foreign_{name}"
    config = row.config()
    half = torch.bfloat16 if packer in (pack_quantized, nvfp4, fp8) else torch.float16
    stored, dense = pack(packer, settings, dense_weights(row), dense_paths, half)
    config["quantization_config"] = quantization
    path = folder / f"{file}_weights.safetensors"
    save_file({k: v.contiguous() for k, v in stored.items()}, path, {"format": "pt"})
    check_size(path)

    hf = Transformers(row, dense)
    ids = prompt_ids(config["vocab_size"])
    want = run(hf, ids)
    mlx, refused = second_opinion(copy.deepcopy(config), path)
    other = run(mlx, ids, want[1]) if mlx else None
    largest = float(max(np.abs(want[0]).max(), np.abs(want[2]).max()))
    apart = difference(want, other) if other else None
    same = apart is None or apart < 0.5 * TOLERANCE * largest
    report = {
        "row": file,
        "reference": "transformers",
        "largest_logit": largest,
        "spread": float(want[0].std()),
        "smallest_gap": smallest_gap(want[2]),
        "difference": apart,
        "chunked_difference": float(np.abs(run_chunked(hf, ids) - want[0]).max()),
        "readings": "mlx-lm refuses" if mlx is None else "same" if same else "other",
    }
    tensors = {"ids": ids, "logits": want[0], "tokens": want[1], "step_logits": want[2]}
    if not same:
        tensors["logits_mlx_lm"] = other[0]
    save_golden(folder / f"{file}.safetensors", tensors, {
        "config": config,
        "versions": versions(),
        "command": f"python tools/oracle/foreign.py {name}",
        "tolerance": f"{TOLERANCE} of the largest absolute logit",
        "weights_rule": f"{file}_weights.safetensors",
        "weights_dtype": str(half).removeprefix("torch."),
        "weight_shapes": row_shapes(row),
        "reference": "transformers",
        "readings": report["readings"],
        "mlx_lm_error": refused,
        "note": {"other": "mlx-lm rounds the biases to float16", "same": ""}.get(
            report["readings"], "transformers on the numbers that the packed weights stand for"),
        "largest_logit": repr(largest),
        "smallest_gap": repr(report["smallest_gap"]),
        "difference_mlx_lm_transformers": repr(apart),
        "difference_chunked": repr(report["chunked_difference"]),
        "report": report,
    })
    print(json.dumps(report), refused, flush=True)


def main():
    unknown = set(sys.argv[1:]) - set(ROWS)
    if unknown:
        raise SystemExit(f"{__doc__}\nno such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")
    for name in sys.argv[1:] or ROWS:
        make_row(name, DATA / "lm")
    (DATA / "lm" / "README-differences.md").write_text(table(DATA / "lm"))


if __name__ == "__main__":
    main()
