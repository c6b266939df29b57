#!/usr/bin/env python3
"""Golden adapters: tests/data/adapters/<case>.safetensors.

    python tools/oracle/adapters.py [CASE ...]

mlx-lm's own tuner makes, loads and fuses the adapters in its format; those in PEFT's format are
merged into the weights by PEFT's formula, written out here. Formats: README.md, "Adapters".
"""

import json
import math
import sys
import tempfile
from pathlib import Path

from common import DATA, save_golden, value, versions
from golden import Mlx, checkpoint, prompt_ids, run
from rows import ROWS

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters

OUT = DATA / "adapters"
BY_NAME = {f"{row.architecture}_{row.name}": row for row in ROWS}


def native(keys=None, num_layers=-1, rank=4, scale=2.0, dora=False):
    parameters = {"rank": rank, "scale": scale, "dropout": 0.0}
    if keys:
        parameters["keys"] = keys
    return {
        "fine_tune_type": "dora" if dora else "lora",
        "num_layers": num_layers,
        "lora_parameters": parameters,
        "batch_size": 4,  # the rest of a training's arguments stands there, too
        "mask_prompt": False,
    }


def peft(modules, rank=4, alpha=8, **more):
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "some/model",
        "inference_mode": True,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.05,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "loftq_config": {},
        "modules_to_save": None,
        "megatron_core": "megatron.core",
        "target_modules": modules,
        **more,
    }


ATTENTION = ["self_attn.q_proj", "self_attn.v_proj"]
# case: (row of the model, adapter_config.json)
NATIVE = {
    "lora": ("llama_plain", native()),
    "lora_last_layer": ("llama_all_bias", native(num_layers=1, rank=3, scale=5)),
    "lora_keys": ("llama_plain", native(ATTENTION, scale=4.5)),
    "lora_tied_table": ("llama_tied", native(["model.embed_tokens", "self_attn.o_proj"], rank=2)),
    "lora_packed": ("llama_quant_affine_4_64", native(num_layers=1, rank=2)),
    "lora_split": ("phi3_plain", native(["self_attn.qkv_proj", "mlp.gate_up_proj"], rank=2)),
    "lora_experts": ("qwen3_moe_plain", native(num_layers=1, rank=2)),
    "lora_packed_experts": ("qwen3_moe_quant_affine_4_32", native(rank=1)),
    "lora_inside": ("gemma3_plain", native(ATTENTION, num_layers=1)),
    "dora": ("llama_all_bias", native(num_layers=1, dora=True)),
    "dora_tied_table": ("llama_tied", native(["model.embed_tokens"], rank=2, dora=True)),
    "dora_packed": ("llama_quant_affine_4_64", native(ATTENTION, dora=True)),
}
PEFT = {
    "peft": (
        "llama_plain",
        peft(["q_proj", "mlp.down_proj"], rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"down_proj": 3}),
    ),
    "peft_rslora": ("llama_plain", peft(r".*\.(k|v)_proj", use_rslora=True)),
    "peft_dora": ("llama_all_bias", peft(["o_proj", "up_proj"], use_dora=True, layers_to_transform=[1])),
    "peft_dora_packed": ("llama_quant_affine_4_64", peft(["o_proj"], use_dora=True)),
    "peft_experts": ("qwen3_moe_plain", peft(["up_proj", "down_proj"], layers_to_transform=0)),
}


def some(case, name, shape, by=0.25):
    return by * value(f"{case}: {name}", math.prod(shape)).reshape(shape)


def up(model):
    as_float = lambda p: p.astype(mx.float32) if mx.issubdtype(p.dtype, mx.floating) else p
    model.update(tree_map(as_float, model.parameters()))


def logits(model, ids):
    # Without a cache, mlx-lm's gemma3n does not share keys.
    return np.array(model(mx.array(ids)[None], cache=make_prompt_cache(model))[0].astype(mx.float32))


def native_tensors(case, row, config):
    """The adapter's tensors, named and shaped by mlx-lm."""
    weights = checkpoint(row)[:2]
    model = Mlx(weights[0], row.mlx_weights(weights[1])).model
    linear_to_lora_layers(
        model, config["num_layers"], config["lora_parameters"], config["fine_tune_type"] == "dora"
    )
    out = {}
    for name, p in tree_flatten(model.parameters()):
        leaf = name.rsplit(".", 1)[-1]
        if leaf in ("lora_a", "lora_b"):
            out[name] = mx.array(some(case, name, p.shape))
        elif leaf == "m":
            out[name] = mx.array(np.array(p) * (1 + some(case, name, p.shape)))
    return out


def make_native(case, row, config):
    tensors = native_tensors(case, row, config)
    base_config, weights, _ = checkpoint(row)
    ids = prompt_ids(row.text_config()["vocab_size"])
    model = Mlx(base_config, row.mlx_weights(weights)).model
    plain = logits(model, ids)
    with tempfile.TemporaryDirectory() as d:
        (Path(d) / "adapter_config.json").write_text(json.dumps(config))
        mx.save_safetensors(str(Path(d) / "adapters.safetensors"), tensors)
        load_adapters(model, d)
    model.eval()
    want = logits(model, ids)
    fused = [(n, m.fuse()) for n, m in model.named_modules() if hasattr(m, "fuse")]
    model.update_modules(tree_unflatten(fused))
    fused_logits = logits(model, ids)
    out = {"ids": ids, "logits": want, "plain": plain, "fused_logits": fused_logits}
    name, module = fused[0]
    for leaf in ("weight", "scales", "biases"):
        if leaf in module and module[leaf].size <= 8192:
            out[f"fused.{name}.{leaf}"] = np.array(module[leaf])
    out.update({f"adapter.{k}": np.array(v) for k, v in tensors.items()})
    return out


def peft_modules(case, row, config, dense):
    """(module, rank, scale) of what is adapted: PEFT's rules for the forms that the cases use."""
    import re

    for name, w in dense.items():
        module = name.removesuffix(".weight")
        if w.ndim != 2 or "embed" in module or "lm_head" in module:
            continue
        targets = config["target_modules"]
        if isinstance(targets, str):
            hit = re.fullmatch(targets, module)
        else:
            hit = any(module == t or module.endswith(f".{t}") for t in targets)
        layers = config.get("layers_to_transform")
        if layers is not None:
            layers = layers if isinstance(layers, list) else [layers]
            hit = hit and int(module.split(".layers.")[1].split(".")[0]) in layers
        if not hit:
            continue
        pick = lambda table, default: next(
            (v for k, v in config.get(table, {}).items() if re.match(rf"(.*\.)?({k})$", module)), default
        )
        rank, alpha = pick("rank_pattern", config["r"]), pick("alpha_pattern", config["lora_alpha"])
        yield module, rank, alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def make_peft(case, row, config):
    base_config, weights, dense = checkpoint(row)
    ids = prompt_ids(row.text_config()["vocab_size"])
    plain = logits(Mlx(base_config, row.mlx_weights(weights)).model, ids)
    merged, tensors = {k: np.array(v.astype(mx.float32)) for k, v in dense.items()}, {}
    for module, rank, scale in peft_modules(case, row, config, dense):
        w = merged[f"{module}.weight"].astype(np.float64)
        a = some(case, f"{module}.a", (rank, w.shape[1]))
        b = some(case, f"{module}.b", (w.shape[0], rank))
        w = w + scale * (b.astype(np.float64) @ a)
        prefix = f"base_model.model.{module}"
        tensors |= {f"{prefix}.lora_A.weight": a, f"{prefix}.lora_B.weight": b}
        if config.get("use_dora"):
            norms = np.linalg.norm(w, axis=1)
            m = (norms * (1 + some(case, f"{module}.m", norms.shape))).astype(np.float32)
            tensors[f"{prefix}.lora_magnitude_vector"] = m
            w = (m / norms)[:, None] * w
        merged[f"{module}.weight"] = w.astype(np.float32)
    base_config.pop("quantization", None)
    model = Mlx(base_config, row.mlx_weights({k: mx.array(v) for k, v in merged.items()})).model
    out = {"ids": ids, "logits": logits(model, ids), "plain": plain}
    out.update({f"adapter.{k}": v for k, v in tensors.items()})
    return out


def architecture_rows():
    """One dense row of each architecture: "plain", or the first that mlx-lm reads as we do."""
    for architecture in dict.fromkeys(row.architecture for row in ROWS):
        rows = [r for r in ROWS if r.architecture == architecture]
        good = [r for r in rows if r.readings == "same" and not (r.quantize or r.gguf or r.packing)]
        # mlx-lm's conversion of falcon_h1 changes weights, so that its adapters fit no others.
        wanted = "converted" if architecture == "falcon_h1" else "plain"
        if good:
            yield next((r for r in good if r.name == wanted), good[0])


def make_architectures():
    """Every module of every architecture that mlx-lm adapts, and the last logits with all of them."""
    tensors, modules = {}, {}
    for row in architecture_rows():
        case, config = f"{row.architecture}_{row.name}", native(rank=1, scale=1.0)
        if row.architecture == "gemma3n":  # mlx-lm can not run its adapted altup
            names = {n.split(".", 4)[-1].rsplit(".", 1)[0] for n in native_tensors(case, row, config)}
            config["lora_parameters"]["keys"] = sorted(n for n in names if "altup" not in n)
        adapter = native_tensors(case, row, config)
        base_config, weights, _ = checkpoint(row)
        model = Mlx(base_config, row.mlx_weights(weights)).model
        ids = prompt_ids(row.text_config()["vocab_size"])
        plain = logits(model, ids)[-1]
        with tempfile.TemporaryDirectory() as d:
            (Path(d) / "adapter_config.json").write_text(json.dumps(config))
            mx.save_safetensors(str(Path(d) / "adapters.safetensors"), adapter)
            load_adapters(model, d)
        model.eval()
        tensors[case] = logits(model, ids)[-1]
        modules[case] = {k: list(v.shape) for k, v in adapter.items()}
        moved = float(np.abs(tensors[case] - plain).max() / np.abs(tensors[case]).max())
        print(f"  {case}: {len(adapter)} tensors, moved {moved:.2f}")
    meta = {
        "modules": modules,
        "versions": versions("mlx", "mlx-lm", "numpy"),
        "command": "python tools/oracle/adapters.py architectures",
    }
    save_golden(OUT / "architectures.safetensors", tensors, meta)


def main():
    wanted = sys.argv[1:]
    if not wanted or "architectures" in wanted:
        make_architectures()
    for cases, make, file in (
        (NATIVE, make_native, "adapters.safetensors"),
        (PEFT, make_peft, "adapter_model.safetensors"),
    ):
        for case, (row, config) in cases.items():
            if wanted and case not in wanted:
                continue
            tensors = make(case, BY_NAME[row], config)
            largest = float(np.abs(tensors["logits"]).max())
            moved = float(np.abs(tensors["logits"] - tensors["plain"]).max())
            assert moved > 0.02 * largest, (case, moved, largest)
            del tensors["plain"]
            meta = {
                "row": row,
                "adapter_config": config,
                "file": file,
                "moved": repr(moved / largest),
                "versions": versions("mlx", "mlx-lm", "numpy"),
                "command": f"python tools/oracle/adapters.py {case}",
            }
            save_golden(OUT / f"{case}.safetensors", tensors, meta)


if __name__ == "__main__":
    main()
