"""Writes models with random weights in the shapes of published ones, for measuring speed: no download, no licence.

    python benchmarks/models/synthetic.py --out DIR [NAME ...]

Names: {names}. Without one, all of them (about 8 GB). The packages are
those of benchmarks/peers/requirements.txt; the tokenizer is the default model's (tools/fetch-model), padded with unused
tokens. Numbers depend on a tensor's name only, so the files are the same each time.
"""

import argparse
import json
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools" / "oracle"))

import gguf  # noqa: E402
from gguf import GGMLQuantizationType as T  # noqa: E402
from gguf_to_mlx import LAYER_NAMES, field, write_tokenizer  # noqa: E402

SPREAD = 0.02  # standard deviation of the weights
CHUNK = 1 << 24  # numbers made at once


@dataclass
class Shape:
    arch: str
    hidden: int
    layers: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    theta: float
    eps: float

    def matrices(self):
        """GGUF name -> (outputs, inputs), the tied table first."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        yield "token_embd", (self.vocab, self.hidden)
        for i in range(self.layers):
            yield f"blk.{i}.attn_q", (q, self.hidden)
            yield f"blk.{i}.attn_k", (kv, self.hidden)
            yield f"blk.{i}.attn_v", (kv, self.hidden)
            yield f"blk.{i}.attn_output", (self.hidden, q)
            yield f"blk.{i}.ffn_gate", (self.ffn, self.hidden)
            yield f"blk.{i}.ffn_up", (self.ffn, self.hidden)
            yield f"blk.{i}.ffn_down", (self.hidden, self.ffn)

    def norms(self):
        yield "output_norm", self.hidden
        for i in range(self.layers):
            yield f"blk.{i}.attn_norm", self.hidden
            yield f"blk.{i}.ffn_norm", self.hidden
            if self.arch == "qwen3":
                yield f"blk.{i}.attn_q_norm", self.head_dim
                yield f"blk.{i}.attn_k_norm", self.head_dim


SHAPES = {
    "llama-1b": Shape("llama", 2048, 16, 8192, 32, 8, 64, 128256, 131072, 500000.0, 1e-5),  # Llama-3.2-1B
    "qwen3-0.6b": Shape("qwen3", 1024, 28, 3072, 16, 8, 128, 151936, 40960, 1000000.0, 1e-6),  # Qwen3-0.6B
}


def generator(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def halves(rng, count, typical):
    """float16 scales around a value, as bytes (count, 2)."""
    values = (typical * rng.uniform(0.7, 1.3, count)).astype(np.float16)
    return values.view(np.uint8).reshape(count, 2)


def raw(rng, count, size):
    return np.frombuffer(rng.bytes(count * size), np.uint8).reshape(count, size)


def q4_0(rng, blocks):
    """32 numbers d * (q - 8): codes 0 ... 15 spread by 4.6."""
    return np.hstack([halves(rng, blocks, SPREAD / 4.6), raw(rng, blocks, 16)])


def q4_k(rng, blocks):
    """256 numbers d * s * q - dmin * m: 6-bit s and m, 31.5 in the mean, and q, 7.5 in the mean."""
    d = halves(rng, blocks, SPREAD / (36 * 4.6))
    dmin = (d.view(np.float16).astype(np.float32) * 7.5).astype(np.float16).view(np.uint8).reshape(-1, 2)
    return np.hstack([d, dmin, raw(rng, blocks, 12), raw(rng, blocks, 128)])


def q6_k(rng, blocks):
    """256 numbers d * s * (q - 32): int8 s spread by 74, q by 18.5."""
    return np.hstack([raw(rng, blocks, 128), raw(rng, blocks, 64), raw(rng, blocks, 16), halves(rng, blocks, SPREAD / (74 * 18.5))])


def bf16(rng, count):
    """The upper halves of float32 numbers."""
    out = np.empty(count, np.uint16)
    for at in range(0, count, CHUNK):
        part = rng.standard_normal(min(CHUNK, count - at), np.float32) * np.float32(SPREAD)
        out[at : at + CHUNK] = part.view(np.uint32) >> 16
    return out


BLOCKS = {T.Q4_0: (32, q4_0), T.Q4_K: (256, q4_k), T.Q6_K: (256, q6_k)}


def numbers(name, shape, kind):
    """The bytes of a matrix as GGUF has them: (rows, bytes of a row)."""
    rng, count = generator(name), shape[0] * shape[1]
    if kind == T.BF16:
        return bf16(rng, count).view(np.uint8).reshape(shape[0], -1)
    size, make = BLOCKS[kind]
    return np.ascontiguousarray(make(rng, count // size)).reshape(shape[0], -1)


def more_bits(layer, layers):
    """Of llama-quant.cpp: the layers that a _M mix keeps in more bits."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def kind_of(name, mix, layers):
    """The type that llama-quantize gives a matrix; a tied table is the output's, which is Q6_K in both mixes."""
    if mix == "bf16":
        return T.BF16
    if name == "token_embd":
        return T.Q6_K
    if mix == "q4_0":
        return T.Q4_0
    _, layer, part = name.split(".")
    return T.Q6_K if part in ("attn_v", "ffn_down") and more_bits(int(layer), layers) else T.Q4_K


def progress(name, done, total):
    end = "\n" if done == total else "\r"
    if sys.stderr.isatty() or done == total:
        print(f"{name}: {done} of {total} tensors", end=end, file=sys.stderr, flush=True)


# --- GGUF ---------------------------------------------------------------------------------------


def add_tokenizer(w, reader, vocab):
    get = lambda key: field(reader, f"tokenizer.ggml.{key}")
    tokens, types = list(get("tokens")), list(get("token_type"))
    for i in range(len(tokens), vocab):
        tokens.append(f"<|unused_{i}|>")
        types.append(gguf.TokenType.UNUSED)
    w.add_tokenizer_model(get("model"))
    w.add_tokenizer_pre(get("pre"))
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(list(get("merges")))
    w.add_bos_token_id(get("bos_token_id"))
    w.add_eos_token_id(get("eos_token_id"))
    w.add_add_bos_token(False)
    w.add_chat_template(field(reader, "tokenizer.chat_template"))


def write_gguf(path, name, mix, tokenizer):
    s = SHAPES[name]
    w = gguf.GGUFWriter(path, s.arch)
    w.add_name(f"random numbers in the shape of {name}")
    w.add_file_type({"q4_0": 2, "q4_k_m": 15, "bf16": 32}[mix])
    w.add_context_length(s.context)
    w.add_embedding_length(s.hidden)
    w.add_block_count(s.layers)
    w.add_feed_forward_length(s.ffn)
    w.add_head_count(s.heads)
    w.add_head_count_kv(s.kv_heads)
    w.add_key_length(s.head_dim)
    w.add_value_length(s.head_dim)
    w.add_rope_dimension_count(s.head_dim)
    w.add_rope_freq_base(s.theta)
    w.add_layer_norm_rms_eps(s.eps)
    w.add_vocab_size(s.vocab)
    add_tokenizer(w, tokenizer, s.vocab)
    matrices, norms = list(s.matrices()), list(s.norms())
    for tensor, shape in matrices:
        kind = kind_of(tensor, mix, s.layers)
        row = gguf.quant_shape_to_byte_shape(shape, kind)
        w.add_tensor_info(f"{tensor}.weight", row, np.dtype(np.uint8), row[0] * row[1], raw_dtype=kind)
    for tensor, size in norms:
        w.add_tensor_info(f"{tensor}.weight", (size,), np.dtype(np.float32), 4 * size)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for i, (tensor, shape) in enumerate(matrices):
        w.write_tensor_data(numbers(tensor, shape, kind_of(tensor, mix, s.layers)))
        progress(path.name, i + 1, len(matrices))
    for tensor, size in norms:
        w.write_tensor_data(np.ones(size, np.float32))
    w.close()


# --- MLX ----------------------------------------------------------------------------------------


def mlx_name(tensor):
    if tensor.startswith("blk."):
        _, layer, part = tensor.split(".")
        return f"model.layers.{layer}.{LAYER_NAMES[part]}"
    return {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[tensor]


def mlx_parts(tensor, shape, mix):
    """[(name, dtype, shape, function that makes the bytes)] of a matrix."""
    name, (rows, columns) = mlx_name(tensor), shape
    if mix == "bf16":
        return [(f"{name}.weight", "BF16", shape, lambda: bf16(generator(tensor), rows * columns))]
    groups = (rows, columns // 64)

    def scales():  # bfloat16
        values = (SPREAD / 4.6 * generator(tensor + ".scales").uniform(0.7, 1.3, groups)).astype(np.float32)
        return (values.view(np.uint32) >> 16).astype(np.uint16)

    def zeros():  # -7.5 scales: the mean is nothing
        values = (scales().astype(np.uint32) << 16).view(np.float32) * np.float32(-7.5)
        return (values.view(np.uint32) >> 16).astype(np.uint16)

    codes = lambda: raw(generator(tensor), rows, columns // 2)
    return [
        (f"{name}.weight", "U32", (rows, columns // 8), codes),
        (f"{name}.scales", "BF16", groups, scales),
        (f"{name}.biases", "BF16", groups, zeros),
    ]


def config_of(s, mix):
    config = {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}[s.arch]],
        "model_type": s.arch,
        "hidden_size": s.hidden,
        "num_hidden_layers": s.layers,
        "intermediate_size": s.ffn,
        "num_attention_heads": s.heads,
        "num_key_value_heads": s.kv_heads,
        "head_dim": s.head_dim,
        "rms_norm_eps": s.eps,
        "max_position_embeddings": s.context,
        "rope_theta": s.theta,
        "vocab_size": s.vocab,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "attention_bias": False,
        "torch_dtype": "bfloat16",
        "eos_token_id": 2,
    }
    if mix == "mlx4":
        config["quantization"] = {"group_size": 64, "bits": 4}
    return config


def write_mlx(folder, name, mix, tokenizer):
    s = SHAPES[name]
    parts = [part for tensor, shape in s.matrices() for part in mlx_parts(tensor, shape, mix)]
    one = lambda size: lambda: np.full(size, 0x3F80, np.uint16)
    parts += [(f"{mlx_name(t)}.weight", "BF16", (size,), one(size)) for t, size in s.norms()]
    header, end = {"__metadata__": {"format": "mlx"}}, 0
    for tensor, dtype, shape, _ in parts:
        begin, end = end, end + int(np.prod(shape)) * {"U32": 4, "BF16": 2}[dtype]
        header[tensor] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config_of(s, mix), indent=1))
    write_tokenizer(tokenizer, folder)
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for i, (_, _, _, make) in enumerate(parts):
            file.write(np.ascontiguousarray(make()).tobytes())
            progress(folder.name, i + 1, len(parts))


# --- The command --------------------------------------------------------------------------------

MODELS = {
    "llama-1b-q4_0.gguf": ("llama-1b", "q4_0"),
    "llama-1b-q4_k_m.gguf": ("llama-1b", "q4_k_m"),
    "llama-1b-bf16.gguf": ("llama-1b", "bf16"),
    "llama-1b-mlx4": ("llama-1b", "mlx4"),
    "llama-1b-bf16": ("llama-1b", "bf16"),
    "qwen3-0.6b-q4_0.gguf": ("qwen3-0.6b", "q4_0"),
    "qwen3-0.6b-q4_k_m.gguf": ("qwen3-0.6b", "q4_k_m"),
    "qwen3-0.6b-mlx4": ("qwen3-0.6b", "mlx4"),
}


def make(out, name, tokenizer):
    """Writes a model into `out` unless it is there; a half-written one has another name."""
    path = out / name
    if path.exists():
        return path
    part = out / f"part-{name}"
    write = write_gguf if name.endswith(".gguf") else write_mlx
    write(part, *MODELS[name], tokenizer)
    return part.rename(path)


def default_tokenizer():
    """The default model's, and its path."""
    done = subprocess.run([ROOT / "tools" / "fetch-model"], check=True, stdout=subprocess.PIPE, text=True)
    path = Path(done.stdout.strip())
    return gguf.GGUFReader(path), path


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.format(names=", ".join(MODELS)), formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    for name in args.names:
        if name not in MODELS:
            parser.error(f"{name}: no such model; expected one of {', '.join(MODELS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer, _ = default_tokenizer()
    for name in args.names or MODELS:
        print(make(args.out, name, tokenizer))


if __name__ == "__main__":
    main()
