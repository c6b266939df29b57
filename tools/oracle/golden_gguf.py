"""Tiny GGUF files and their logits: tests/data/lm/<architecture>_gguf_<name>.{gguf,safetensors}.

The expected logits are mlx-lm's, in float32, on the dequantised weights in Hugging Face order;
transformers' own GGUF reader is the second opinion.

    python tools/oracle/golden_gguf.py [ROW ...]
"""

import json
import sys
import tempfile
from pathlib import Path

import golden as oracle
from common import DATA, WEIGHTS_RULE, check_size, command, save_golden, seeded, versions
from ggml_quants import fitting, quantize
from gguf_tokenizer import add_tokenizer, vocabulary
from gguf_to_mlx import convert, interleaved_heads
from rows import llama, qwen2, qwen3

import gguf
import mlx.core as mx
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize
from mlx_lm import load
from tokenizers import Tokenizer

GGUF_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TEXTS = ["the world", " hello world", "naïve 東京 🍮", "nai\u0308ve", "a1234 b", "<|im_start|>user\nhi<|im_end|>", ""]
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
NOT_IN_FILE = ["max_window_layers", "sliding_window", "use_sliding_window"]
BASES = {
    name: {k: v for k, v in {**module.BASE, **SMALL}.items() if k not in NOT_IN_FILE}
    for name, module in [("llama", llama), ("qwen2", qwen2), ("qwen3", qwen3)]
}
BASES["qwen3"].pop("attention_bias")
BASES["qwen3"]["head_dim"] = 16
PRE = {"llama": "smollm", "qwen2": "qwen2", "qwen3": "qwen2"}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# name: (tensor type of matrices, of the embedding, config changes)
# Rows of 256 where K-quants can be, of 32 in what comes out of attention and the inner layer.
WIDE = {
    "hidden_size": 256,
    "num_hidden_layers": 1,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "tie_word_embeddings": True,
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}
ROWS = {
    "llama_gguf_f32": (T.F32, T.F32, {"num_hidden_layers": 1, "tie_word_embeddings": True}),
    "llama_gguf_f16": (T.F16, T.F16, {}),
    "llama_gguf_bf16": (T.BF16, T.BF16, {}),
    "llama_gguf_q8_0": (T.Q8_0, T.Q8_0, {}),
    "llama_gguf_q4_0": (T.Q4_0, T.Q4_0, {}),
    "llama_gguf_q4_1": (T.Q4_1, T.Q4_1, {}),
    "llama_gguf_q5_0": (T.Q5_0, T.Q5_0, {}),
    "llama_gguf_q5_1": (T.Q5_1, T.Q5_1, {}),
    "llama_gguf_iq4_nl": (T.IQ4_NL, T.IQ4_NL, {}),
    "llama_gguf_q2_k": (T.Q2_K, T.Q2_K, WIDE),
    "llama_gguf_q3_k": (T.Q3_K, T.Q3_K, WIDE),
    "llama_gguf_q4_k": (T.Q4_K, T.Q4_K, WIDE),
    "llama_gguf_q5_k": (T.Q5_K, T.Q5_K, WIDE),
    "llama_gguf_q6_k": (T.Q6_K, T.Q3_K, WIDE),
    "llama_gguf_iq4_xs": (T.IQ4_XS, T.IQ4_XS, WIDE),
    "llama_gguf_mixed": (T.Q4_1, T.Q8_0, {"tie_word_embeddings": True}),
    "llama_gguf_key_length": (T.Q8_0, T.Q8_0, {"head_dim": 16}),
    "llama_gguf_bias": (T.F16, T.F16, {"attention_bias": True, "tie_word_embeddings": True}),
    "llama_gguf_rope_freqs": (T.Q8_0, T.Q8_0, {"rope_scaling": LLAMA3}),
    "llama_gguf_rope_linear": (T.Q8_0, T.Q8_0, {"rope_scaling": {"type": "linear", "factor": 4.0}}),
    "llama_gguf_rope_yarn": (T.Q8_0, T.Q8_0, {"rope_scaling": YARN}),
    "qwen2_gguf_f16": (T.F16, T.F16, {}),
    "qwen2_gguf_q8_0": (T.Q8_0, T.Q8_0, {"tie_word_embeddings": True}),
    "qwen2_gguf_q4_0": (T.Q4_0, T.Q4_0, {}),
    "qwen2_gguf_rope_yarn": (T.Q8_0, T.Q8_0, {"rope_scaling": YARN}),
    "qwen3_gguf_bf16": (T.BF16, T.BF16, {}),
    "qwen3_gguf_q8_0": (T.Q8_0, T.Q8_0, {}),
    "qwen3_gguf_q4_k": (T.Q4_K, T.Q6_K, WIDE),
    "qwen3_gguf_q4_1": (T.Q4_1, T.Q8_0, {"tie_word_embeddings": True}),
}
NOTES = {
    "llama_gguf_mixed": "as the default model: Q4_1, token_embd Q8_0, tied (no output.weight)",
    "llama_gguf_key_length": "llama.attention.key_length and value_length 16, not embedding / heads",
    "llama_gguf_bias": "attn_q.bias and attn_k.bias are interleaved like their weights",
    "llama_gguf_rope_freqs": "llama3 scaling arrives as the tensor rope_freqs.weight: frequency i is divided "
    "by its element i; there is no rope.scaling metadata",
    "llama_gguf_rope_linear": "llama.rope.scaling.type linear, .factor",
    "llama_gguf_rope_yarn": "llama.rope.scaling.type yarn, .factor, .original_context_length",
}
SECOND = {  # why transformers' reader is not asked
    "llama_gguf_bias": "transformers drops the biases",
    "llama_gguf_rope_freqs": "transformers drops rope_freqs.weight",
    "llama_gguf_rope_linear": "transformers drops rope.scaling",
    "llama_gguf_rope_yarn": "transformers drops rope.scaling",
    "qwen2_gguf_rope_yarn": "transformers drops rope.scaling",
    **{
        f"qwen3_gguf_{kind}": "transformers does not read qwen3.attention.key_length"
        for kind in ["bf16", "q8_0", "q4_1", "q4_k"]
    },
}


def interleave(w, heads):
    """llama.cpp's converter: rope halves (i, i + d/2) become neighbours (2i, 2i + 1)."""
    rest = w.shape[1:]
    return w.reshape(heads, 2, -1, *rest).swapaxes(1, 2).reshape(-1, *rest)


def gguf_name(name):
    base, leaf = name.rsplit(".", 1)
    if base.startswith("model.layers."):
        _, _, layer, part = base.split(".", 3)
        return f"blk.{layer}.{GGUF_NAMES[part]}.{leaf}"
    return {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[
        base
    ] + f".{leaf}"


def freq_factors(config):
    """llama.cpp's rope_freqs.weight for llama3 scaling: what each frequency is divided by."""
    s = config["rope_scaling"]
    d = config["hidden_size"] // config["num_attention_heads"]
    out = []
    for freq in 1.0 / config["rope_theta"] ** (np.arange(0, d, 2, dtype=np.float64) / d):
        wavelen = 2 * np.pi / freq
        original = s["original_max_position_embeddings"]
        if wavelen < original / s["high_freq_factor"]:
            out.append(1.0)
        elif wavelen > original / s["low_freq_factor"]:
            out.append(s["factor"])
        else:
            smooth = (original / wavelen - s["low_freq_factor"]) / (
                s["high_freq_factor"] - s["low_freq_factor"]
            )
            out.append(1 / ((1 - smooth) / s["factor"] + smooth))
    return np.array(out, dtype=np.float32)


def write_gguf(path, config, weights, kind, embed_kind):
    """Writes the file and returns the dequantised weights in Hugging Face order."""
    arch = config["model_type"]
    w = gguf.GGUFWriter(str(path), arch)
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    d = config.get("head_dim") or config["hidden_size"] // heads
    w.add_name(f"tiny {arch}")
    w.add_block_count(config["num_hidden_layers"])
    w.add_context_length(config["max_position_embeddings"])
    w.add_embedding_length(config["hidden_size"])
    w.add_feed_forward_length(config["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_layer_norm_rms_eps(config["rms_norm_eps"])
    w.add_rope_freq_base(config["rope_theta"])
    w.add_rope_dimension_count(d)
    w.add_vocab_size(config["vocab_size"])
    if "head_dim" in config:
        w.add_key_length(d)
        w.add_value_length(d)
    add_scaling(w, config)
    add_tokenizer(w, PRE[arch])
    dense = {}
    for name, value in weights.items():
        n = interleaved_heads(config).get(name.split(".")[-2])
        stored = interleave(value, n) if n else value
        as_kind = embed_kind if "embed_tokens" in name else kind if value.ndim == 2 else T.F32
        as_kind = fitting(as_kind, value.shape[-1])
        raw = quantize(stored, as_kind)
        w.add_tensor(gguf_name(name), raw, raw_dtype=as_kind)
        back = dequantize(quantize(value, as_kind), as_kind).astype(np.float32)
        dense[name] = mx.array(back.reshape(value.shape))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return dense


def add_scaling(w, config):
    s = config.get("rope_scaling")
    if not s:
        return
    if s.get("rope_type") == "llama3":
        w.add_tensor("rope_freqs.weight", freq_factors(config))
        return
    w.add_rope_scaling_type(gguf.RopeScalingType(s["type"]))
    w.add_rope_scaling_factor(s["factor"])
    if "original_max_position_embeddings" in s:
        w.add_rope_scaling_orig_ctx_len(s["original_max_position_embeddings"])


def converted(path, scaling):
    """mlx-lm on what gguf_to_mlx.py makes of the file: checks the converter, and the text side."""
    with tempfile.TemporaryDirectory() as d:
        assert convert(path, Path(d)) == 0.0
        config = json.loads((Path(d) / "config.json").read_text())
        (Path(d) / "config.json").write_text(json.dumps({**config, "rope_scaling": scaling}))
        model, tokenizer = load(d)
        tok = Tokenizer.from_file(d + "/tokenizer.json")
        ids = {t: tok.encode(t, add_special_tokens=False).ids for t in TEXTS}
        back = {t: tok.decode(ids[t], skip_special_tokens=False) for t in TEXTS}
        messages = [{"role": "user", "content": "the world"}]
        chat = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return model, {"ids": ids, "decoded": back, "messages": messages, "chat": chat}


class AsMlx(oracle.Mlx):
    def __init__(self, model):
        self.model = model


class TransformersGguf(oracle.Transformers):
    whole = False

    def __init__(self, path):
        self.model = transformers.AutoModelForCausalLM.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32, attn_implementation="eager"
        ).eval()


def make_row(name):
    kind, embed_kind, changes = ROWS[name]
    config = {**BASES[name.split("_")[0]], **changes}
    config["vocab_size"] = len(vocabulary()[0])
    shapes = oracle.shapes(config, head=not config["tie_word_embeddings"])
    weights = {k: seeded(k, s) for k, s in shapes.items()}
    path = DATA / "lm" / f"{name}.gguf"
    dense = write_gguf(path, config, weights, kind, embed_kind)
    check_size(path)
    ids = oracle.prompt_ids(config["vocab_size"])
    want = oracle.run(oracle.Mlx(config, dense), ids)
    model, text = converted(path, config.get("rope_scaling"))
    largest = float(np.abs(want[0]).max())
    packed = oracle.difference(want, oracle.run(AsMlx(model), ids, want[1]))
    assert packed < 0.5 * oracle.TOLERANCE * largest, packed
    second = None
    if name not in SECOND:
        second = oracle.difference(want, oracle.run(TransformersGguf(path), ids, want[1]))
        assert second < 0.5 * oracle.TOLERANCE * largest, second
    meta = {
        "config": config,
        "versions": versions(),
        "command": f"{command()} {name}",
        "tolerance": f"{oracle.TOLERANCE} of the largest absolute logit",
        "weights_rule": f"{name}.gguf (made from: {WEIGHTS_RULE})",
        "note": NOTES.get(name, ""),
        "largest_logit": repr(largest),
        "smallest_gap": repr(oracle.smallest_gap(want[2])),
        "difference_packed_dequantised": repr(packed),
        "difference_mlx_lm_transformers": SECOND.get(name) or repr(second),
        "text": text,
    }
    save_golden(
        DATA / "lm" / f"{name}.safetensors",
        {"ids": ids, "logits": want[0], "tokens": want[1], "step_logits": want[2]},
        meta,
    )
    print(f"  largest {largest:.2f}, packed differs by {packed}, transformers by {second}")


def main():
    for name in sys.argv[1:] or ROWS:
        make_row(name)


if __name__ == "__main__":
    main()
