"""Golden logits of tiny models: what tools/oracle/add runs.

mlx-lm in float32 runs every row of rows/; transformers is the second opinion, and the first one
where the row says so. Weights are name-seeded (README.md) or, quantised, in a file.
"""

import copy
import json
import tempfile
from pathlib import Path

import llama_cpp
from common import WEIGHTS_RULE, check_size, fnv1a64, save_golden, seeded, splitmix64, versions
from gguf_to_mlx import undo_interleave

import mlx.core as mx
import numpy as np
import torch
import transformers
from mlx.utils import tree_map
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model
from mlx.utils import tree_flatten
from mlx_lm.utils import quantize_model
from safetensors import safe_open
from transformers.core_model_loading import revert_weight_conversion

transformers.utils.logging.disable_progress_bar()

PROMPT, STEPS, CHUNK = 24, 8, 7
TOLERANCE = 1e-4  # of the largest absolute logit


def prompt_ids(vocab):
    state = np.uint64(fnv1a64("ids")) + np.arange(PROMPT, dtype=np.uint64)
    return ((splitmix64(state) >> np.uint64(40)) % np.uint64(vocab)).astype(np.int32)


def hf_config(config, hf_type=None):
    """A configuration as transformers reads it."""
    config = copy.deepcopy(config)  # transformers writes into nested tables
    config["model_type"] = hf_type or config["model_type"]
    config.pop("quantization", None)
    if config["model_type"] == "ministral":  # it has no default for it
        config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    return transformers.AutoConfig.for_model(**config)


def shapes(config, head, hf_type=None, stacked=False):
    """Names and shapes of the checkpoint's tensors, as transformers names them."""
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(hf_config(config, hf_type))
        stored = model.state_dict()
        if not stacked:  # what stands in published files: experts one by one, and so on
            stored = revert_weight_conversion(model, stored)
    out = {k: tuple(v.shape) for k, v in stored.items()}
    if not head:
        out.pop("lm_head.weight")
    return out


def decoder_shapes(row):
    return shapes({**row.text_config(), **row.hf_changes}, row.head, row.hf_type, row.stacked)


def row_shapes(row):
    """Of the tensors in the row's checkpoint, by their names there."""
    return {**{row.disk_name(k): s for k, s in decoder_shapes(row).items()}, **row.beside}


def dense_weights(row):
    out = {k: mx.array(seeded(k, s)) for k, s in row_shapes(row).items()}
    if row.gguf:  # numbers that its blocks stand for
        out = {k: llama_cpp.as_stored(v, row.gguf) for k, v in out.items()}
    return {k: v.astype(getattr(mx, row.dtype)) for k, v in out.items()}


def quantize_weights(weights, quantize):
    """What mlx-lm's convert would store for `quantize`."""
    out = {}
    for name, w in weights.items():
        base, leaf = name.rsplit(".", 1)
        how = quantize.get(base, {k: quantize[k] for k in ("group_size", "bits", "mode")})
        if w.ndim != 2 or how is False:
            out[name] = w
            continue
        parts = mx.quantize(w, how["group_size"], how["bits"], mode=how.get("mode", "affine"))
        out.update(zip((name, base + ".scales", base + ".biases"), parts))
    return out


def dequantize_weights(weights, quantize):
    """The dense float32 values behind packed tensors, for transformers."""
    out = {}
    for name, w in weights.items():
        base, leaf = name.rsplit(".", 1)
        if leaf in ("scales", "biases"):
            continue
        if base + ".scales" not in weights or leaf == "bias":
            out[name] = w.astype(mx.float32)
            continue
        how = quantize.get(base, quantize)
        scales, biases = (weights.get(f"{base}.{k}") for k in ("scales", "biases"))
        if biases is not None:
            scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
        out[name] = mx.dequantize(
            w, scales, biases, how["group_size"], how["bits"], mode=how.get("mode", "affine")
        ).astype(mx.float32)
    return out


def converted_weights(config, weights, quantize):
    """What mlx-lm's convert makes of a raw checkpoint: its own names and stacks, perhaps packed."""
    with tempfile.TemporaryDirectory() as d:
        write_model(Path(d), config, weights)
        model, loaded = load_model(Path(d))
    if "quantization" in loaded:
        config = {**config, "quantization": loaded["quantization"]}
    if quantize:
        how = {k: quantize[k] for k in ("group_size", "bits", "mode")}
        rules = {k: v for k, v in quantize.items() if k not in how}
        predicate = lambda path, module: rules.get(path, module.weight.shape[-1] % how["group_size"] == 0)
        model, config = quantize_model(model, config, **how, quant_predicate=predicate)
    return dict(tree_flatten(model.parameters())), config


def write_model(folder, config, weights):
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})


class Mlx:
    def __init__(self, config, weights, native=False):
        with tempfile.TemporaryDirectory() as d:
            write_model(Path(d), config, weights)
            self.model, _ = load_model(Path(d))
        if not native:
            up = lambda p: p.astype(mx.float32) if mx.issubdtype(p.dtype, mx.floating) else p
            self.model.update(tree_map(up, self.model.parameters()))

    def start(self):
        self.cache = make_prompt_cache(self.model)

    def forward(self, ids):
        return np.array(self.model(mx.array(ids)[None], cache=self.cache)[0].astype(mx.float32))


class Transformers:
    def __init__(self, row, weights):
        config = hf_config({**row.text_config(), **row.hf_changes}, row.hf_type).to_dict()
        with tempfile.TemporaryDirectory() as d:
            write_model(Path(d), config, {k: v.astype(mx.float32) for k, v in weights.items()})
            self.model, info = transformers.AutoModelForCausalLM.from_pretrained(
                d, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
            )
        tied = bool(config.get("tie_word_embeddings"))
        missing = set(info["missing_keys"]) - ({"lm_head.weight"} if tied else set())
        unexpected = set(info["unexpected_keys"]) - ({"lm_head.weight"} if tied else set())
        assert not missing and not unexpected, (missing, unexpected)
        self.model.eval()
        self.whole = row.whole

    def start(self):
        self.cache, self.seen = None, []

    def forward(self, ids):
        new = len(ids)
        if self.whole:
            ids = self.seen = [*self.seen, *ids]
        with torch.no_grad():
            out = self.model(
                torch.tensor(np.array(ids, dtype=np.int64))[None],
                cache=self.cache,
                use_cache=not self.whole,
            )
        self.cache = out.cache
        return out.logits[0, -new:].numpy()


def run(model, ids, tokens=None):
    """Prefill in one call, then STEPS greedy tokens (or the given ones)."""
    model.start()
    logits = model.forward(ids)
    steps, chosen = [logits[-1]], []
    for i in range(STEPS):
        chosen.append(int(np.argmax(steps[-1])) if tokens is None else int(tokens[i]))
        if i + 1 < STEPS:
            steps.append(model.forward([chosen[-1]])[-1])
    return logits, np.array(chosen, dtype=np.int32), np.stack(steps)


def run_chunked(model, ids):
    model.start()
    return np.concatenate([model.forward(ids[i : i + CHUNK]) for i in range(0, len(ids), CHUNK)])


def difference(a, b):
    return float(max(np.abs(a[0] - b[0]).max(), np.abs(a[2] - b[2]).max()))


def smallest_gap(logits):
    best = np.sort(logits, axis=-1)[:, -2:]
    return float((best[:, 1] - best[:, 0]).min())


def hf_weights(row, dense):
    """The same tensors as transformers' decoder names and orders them."""
    config = row.text_config()
    inner = {row.disk_name(k): k for k in decoder_shapes(row)}
    dense = {inner[k]: v for k, v in dense.items() if k not in row.beside}
    if not config.get("rope_traditional"):
        return dense
    heads = config["num_attention_heads"]
    counts = {"q_proj": heads, "k_proj": config["num_key_value_heads"]}
    out = dict(dense)
    for name, w in dense.items():
        n = counts.get(name.split(".")[-2])
        if n:
            out[name] = mx.array(undo_interleave(np.array(w), n))
    return out


def checkpoint(row):
    """What stands in the row's folder: config.json and tensors; and the tensors behind packed ones."""
    config = row.config()
    weights = dense_weights(row)
    dense = weights
    if row.packing:
        config["quantization_config"] = row.packing.config
        weights = row.packing.pack(weights)
        dense = row.packing.unpack(weights)
    if row.converted:
        weights, config = converted_weights(config, weights if row.packing else row.for_mlx_lm(weights), row.quantize)
        config.pop("quantization_config", None)
    elif row.quantize:
        config["quantization"] = row.quantize_config or row.quantize
        weights = quantize_weights(weights, row.quantize)
        dense = dequantize_weights(weights, row.quantize)
    return config, weights, dense


def make_row(row, folder):
    """Writes the row's files into `folder`; returns what was measured."""
    file = f"{row.architecture}_{row.name}"
    config, weights, dense = checkpoint(row)
    stored = None  # the file of weights that are not what names give
    if row.gguf:
        stored = f"{file}.gguf"
    elif row.quantize or row.converted or row.packing:
        stored = f"{file}_weights.{'npz' if row.npz else 'safetensors'}"
    ids = prompt_ids(row.text_config()["vocab_size"])

    mlx = refused = None
    try:
        mlx = Mlx(config, row.mlx_weights(weights))
    except (ValueError, TypeError, AssertionError, IndexError, KeyError) as e:
        refused = str(e) or type(e).__name__
    assert (refused is not None) == (row.readings == "mlx-lm refuses"), (file, refused)
    # Packed under mlx-lm's names, transformers can not read it: the raw rows have its opinion.
    alone = row.converted and (row.quantize or row.packing)
    hf = None if alone else Transformers(row, hf_weights(row, dense))
    first = hf if row.reference == "transformers" else mlx

    want = run(first, ids)
    tokens = want[1]
    second = mlx if first is hf else hf
    other = run(second, ids, tokens) if second else None
    largest = float(max(np.abs(want[0]).max(), np.abs(want[2]).max()))
    chunked = float(np.abs(run_chunked(first, ids) - want[0]).max())
    report = {
        "row": file,
        "reference": row.reference,
        "largest_logit": largest,
        "spread": float(want[0].std()),
        "smallest_gap": smallest_gap(want[2]),
        "difference": difference(want, other) if other else None,
        "chunked_difference": chunked,
        "readings": row.readings,
    }
    if row.readings == "same" and other:
        assert report["difference"] < 0.5 * TOLERANCE * largest, report
    elif row.readings == "near":
        assert report["difference"] > 2 * TOLERANCE * largest, report
    elif row.readings == "other":
        assert report["difference"] > 10 * TOLERANCE * largest, report

    tensors = {"ids": ids, "logits": want[0], "tokens": tokens, "step_logits": want[2]}
    if row.readings in ("other", "near"):
        tensors["logits_transformers" if first is mlx else "logits_mlx_lm"] = other[0]
    if row.dtype != "float32" and not row.gguf:
        try:
            tensors["logits_native"] = run(Mlx(config, row.mlx_weights(weights), native=True), ids, tokens)[0]
        except RuntimeError as e:  # MLX's gather_mm is float32 alone on a CPU
            print(f"  {file}: no logits in {row.dtype}: {e}")
    meta = {
        "config": config,
        "versions": versions(),
        "command": f"tools/oracle/add {file}",
        "tolerance": f"{TOLERANCE} of the largest absolute logit",
        "weights_rule": stored or WEIGHTS_RULE,
        "weights_dtype": row.dtype,
        "weight_shapes": row_shapes(row),
        "reference": row.reference,
        "readings": row.readings,
        "mlx_lm_error": refused or "",
        "note": row.note,
        "largest_logit": repr(largest),
        "smallest_gap": repr(report["smallest_gap"]),
        "difference_mlx_lm_transformers": repr(report["difference"]),
        "difference_chunked": repr(chunked),
        "report": report,
    }
    save_golden(folder / f"{file}.safetensors", tensors, meta)
    if stored:
        path = folder / stored
        if row.gguf:
            llama_cpp.write_gguf(path, config, weights, row.gguf)
        elif row.npz:
            mx.savez(str(path), **weights)
        else:
            mx.save_safetensors(str(path), weights, {"format": "mlx"})
        check_size(path)
    return report


def stored_reports(folder):
    """The reports of all golden files, in the order of their names."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "np") as f:
            meta = f.metadata() or {}
        if "report" in meta:
            yield json.loads(meta["report"]), meta["note"]


def table(folder):
    lines = [
        "# mlx-lm and transformers on the golden rows",
        "",
        "Written by `tools/oracle/add`; do not edit. Versions: "
        + ", ".join(f"{k} {v}" for k, v in versions().items())
        + ".",
        "",
        f"Prefill of {PROMPT} tokens in one call, then {STEPS} greedy steps; float32. `difference` "
        "is the largest absolute difference of any logit between mlx-lm and transformers on the "
        f"same weights; `chunked` is the reference against itself in chunks of {CHUNK}; `gap` the "
        "least distance of the two best logits of a step. Where the two read a configuration differently "
        "(`other`), `logits` are the reference's and `logits_mlx_lm` or `logits_transformers` the "
        "other's.",
        "",
        "| row | reference | readings | largest logit | std | gap | difference | chunked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for r, note in stored_reports(folder):
        d = "-" if r["difference"] is None else f"{r['difference']:.1e}"
        lines.append(
            f"| {r['row']} | {r['reference']} | {r['readings']} | {r['largest_logit']:.2f} | "
            f"{r['spread']:.2f} | {r['smallest_gap']:.1e} | {d} | {r['chunked_difference']:.1e} |"
        )
        if note:
            notes.append(f"- {r['row']}: {note}.")
    return "\n".join(lines + ["", "Notes:", "", *notes]) + "\n"
