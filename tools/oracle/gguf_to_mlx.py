"""Converts a llama, qwen2 or qwen3 GGUF file to an mlx-lm directory without losing a bit.

Q4_0, Q4_1 and Q8_0 stay quantised (affine, group 32, float32 scales and biases made from the
file's float16), F32 stays, F16 and BF16 widen to float32. llama.cpp's interleave of llama's q and k
rows is undone; the tokenizer and the chat template are written from the metadata.

    python tools/oracle/gguf_to_mlx.py FILE.gguf OUT_DIR
"""

import json
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.numpy import save_file

LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
GROUP = 32  # the block of every format kept here


def mlx_name(gguf_name):
    """blk.3.attn_q.weight -> (model.layers.3.self_attn.q_proj, weight)."""
    base, leaf = gguf_name.rsplit(".", 1)
    if base.startswith("blk."):
        _, layer, part = base.split(".")
        return f"model.layers.{layer}.{LAYER_NAMES[part]}", leaf
    return TOP_NAMES[base], leaf


def pack(q, bits):
    """(rows, cols) small unsigned integers -> uint32, lowest element in the lowest bits."""
    per = 32 // bits
    q = q.reshape(q.shape[0], -1, per).astype(np.uint32)
    shifts = np.arange(per, dtype=np.uint32) * np.uint32(bits)
    return np.bitwise_or.reduce(q << shifts, axis=-1)


def split_nibbles(b):
    """ggml keeps elements 0-15 in the low nibbles and 16-31 in the high ones."""
    return np.concatenate([b & 15, b >> 4], axis=-1)


def quantized(data, kind, shape):
    """Raw ggml blocks -> (weight, scales, biases, bits); w = scale * q + bias exactly."""
    rows, cols = shape
    blocks = np.ascontiguousarray(data).view(np.uint8).reshape(rows, cols // GROUP, -1)
    half = lambda at: blocks[..., at : at + 2].copy().view(np.float16)[..., 0].astype(np.float32)
    if kind == T.Q4_1:
        q, scales, biases, bits = split_nibbles(blocks[..., 4:]), half(0), half(2), 4
    elif kind == T.Q4_0:
        q, scales, bits = split_nibbles(blocks[..., 2:]), half(0), 4
        biases = np.float32(-8) * scales
    else:
        q = (blocks[..., 2:].view(np.int8).astype(np.int16) + 128).astype(np.uint8)
        scales, bits = half(0), 8
        biases = np.float32(-128) * scales
    return pack(q.reshape(rows, cols), bits), scales, biases, bits


def undo_interleave(w, heads):
    """llama.cpp stores rope pairs as neighbours (2i, 2i+1); mlx-lm wants (i, i + d/2)."""
    rest = w.shape[1:]
    return w.reshape(heads, -1, 2, *rest).swapaxes(1, 2).reshape(-1, *rest)


def field(reader, key, default=None):
    f = reader.get_field(key)
    return default if f is None else f.contents()


CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}


def read_config(reader):
    arch = field(reader, "general.architecture")
    get = lambda key, default=None: field(reader, f"{arch}.{key}", default)
    heads, hidden = get("attention.head_count"), get("embedding_length")
    names = {t.name for t in reader.tensors}
    config = {
        "architectures": [CLASSES[arch]],
        "model_type": arch,
        "hidden_size": hidden,
        "num_hidden_layers": get("block_count"),
        "intermediate_size": get("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": get("attention.head_count_kv", heads),
        "head_dim": get("attention.key_length", hidden // heads),
        "rms_norm_eps": get("attention.layer_norm_rms_epsilon"),
        "max_position_embeddings": get("context_length"),
        "rope_theta": get("rope.freq_base", 10000.0),
        "vocab_size": get("vocab_size", len(field(reader, "tokenizer.ggml.tokens", []))),
        "tie_word_embeddings": "output.weight" not in names,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
    }
    if arch == "llama":
        config["attention_bias"] = "blk.0.attn_q.bias" in names
        config["mlp_bias"] = "blk.0.ffn_up.bias" in names
    return config


def interleaved_heads(config):
    """Projections whose rows llama.cpp's converter reorders, and the heads of each."""
    if config["model_type"] != "llama":
        return {}
    return {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}


def convert_weights(reader, config):
    """All tensors under mlx-lm's names, and the config's `quantization` (None when dense)."""
    heads = interleaved_heads(config)
    out, bits_of = {}, {}
    for t in reader.tensors:
        if t.name == "rope_freqs.weight":
            continue  # llama3 scaling; the caller puts rope_scaling into config.json
        name, leaf = mlx_name(t.name)
        order = lambda w: w
        if name.rsplit(".", 1)[-1] in heads:
            n = heads[name.rsplit(".", 1)[-1]]
            order = lambda w: undo_interleave(w, n)
        shape = [int(n) for n in reversed(t.shape)]
        if t.tensor_type in (T.Q4_0, T.Q4_1, T.Q8_0):
            w, scales, biases, bits = quantized(t.data, t.tensor_type, shape)
            bits_of[name] = bits
            parts = {"weight": w, "scales": scales, "biases": biases}
            out.update({f"{name}.{k}": order(v) for k, v in parts.items()})
        else:
            w = dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)
            out[f"{name}.{leaf}"] = order(w)
    if not bits_of:
        return out, None
    usual = max(set(bits_of.values()), key=list(bits_of.values()).count)
    quantization = {"group_size": GROUP, "bits": usual, "mode": "affine"}
    for name, bits in bits_of.items():
        if bits != usual:
            quantization[name] = {"group_size": GROUP, "bits": bits, "mode": "affine"}
    return out, quantization


def write_tokenizer(reader, out):
    """tokenizer.json for a gpt2-type byte-level BPE."""
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    pre = field(reader, "tokenizer.ggml.pre")
    if field(reader, "tokenizer.ggml.model") != "gpt2":
        raise SystemExit("tokenizer: expected gpt2")
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    normalizer = None
    if pre == "gpt-2":
        splits = byte_level
    elif pre == "smollm":  # digits one by one
        digits = {"type": "Digits", "individual_digits": True}
        splits = {"type": "Sequence", "pretokenizers": [digits, byte_level]}
    elif pre == "qwen2":
        from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

        normalizer = {"type": "NFC"}
        pattern = {"Regex": PRETOKENIZE_REGEX}
        split = {"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": False}
        splits = {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]}
    else:
        raise SystemExit(f"tokenizer: expected pre gpt-2, smollm or qwen2, found {pre}")
    added = [
        {"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": kind == 3}
        for i, kind in enumerate(types) if kind in (3, 4)
    ]  # fmt: skip
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": splits,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": [merge.split(" ") for merge in field(reader, "tokenizer.ggml.merges")],
        },
    }
    (out / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False), encoding="utf-8")
    special = {
        role: tokens[field(reader, f"tokenizer.ggml.{key}_token_id")]
        for role, key in [("bos_token", "bos"), ("eos_token", "eos"), ("pad_token", "padding"),
                          ("unk_token", "unknown")]
        if field(reader, f"tokenizer.ggml.{key}_token_id") is not None
    }  # fmt: skip
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": read_config(reader)["max_position_embeddings"],
        **special,
    }
    template = field(reader, "tokenizer.chat_template")
    if template is not None:
        tokenizer_config["chat_template"] = template
    (out / "tokenizer_config.json").write_text(json.dumps(tokenizer_config, indent=1))


def check_lossless(reader, weights, config):
    """Dequantises both sides and returns the largest difference (0.0, or the script is wrong)."""
    import mlx.core as mx

    heads = interleaved_heads(config)
    worst = 0.0
    for t in reader.tensors:
        if t.name == "rope_freqs.weight":
            continue
        name, leaf = mlx_name(t.name)
        shape = [int(n) for n in reversed(t.shape)]
        want = dequantize(t.data, t.tensor_type).astype(np.float32).reshape(shape)
        if name.rsplit(".", 1)[-1] in heads:
            want = undo_interleave(want, heads[name.rsplit(".", 1)[-1]])
        got = weights[f"{name}.{leaf}"]
        if got.dtype == np.uint32:
            parts = [mx.array(weights[f"{name}.{k}"]) for k in ("weight", "scales", "biases")]
            bits = 32 * got.shape[-1] // shape[-1]
            got = np.array(mx.dequantize(*parts, group_size=GROUP, bits=bits))
        worst = max(worst, float(np.abs(got - want).max()))
    return worst


def convert(source, out):
    out.mkdir(parents=True, exist_ok=True)
    reader = GGUFReader(source)
    config = read_config(reader)
    weights, quantization = convert_weights(reader, config)
    if quantization:
        config["quantization"] = quantization
    save_file({k: np.ascontiguousarray(v) for k, v in weights.items()}, out / "model.safetensors",
              metadata={"format": "mlx"})  # fmt: skip
    (out / "config.json").write_text(json.dumps(config, indent=1))
    if reader.get_field("tokenizer.ggml.tokens") is not None:
        write_tokenizer(reader, out)
    return check_lossless(reader, weights, config)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print("largest difference after dequantising:", convert(sys.argv[1], Path(sys.argv[2])))
