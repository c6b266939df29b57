"""GGUF files as llama.cpp's own converter writes them; the rows of GGUF in rows/<architecture>.py need it.

The sources of llama.cpp are those inside of a pinned package (llama_cpp.txt), which is downloaded once;
the environment variable LLAMA_CPP names another folder of them.
"""

import json
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from gguf_tokenizer import add_tokenizer, vocabulary

import gguf
import mlx.core as mx
import numpy as np

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlxcpp" / "oracle"


def sources():
    """The folder of llama.cpp's sources."""
    if folder := os.environ.get("LLAMA_CPP"):
        return Path(folder)
    pin = (HERE / "llama_cpp.txt").read_text().split()[0]
    folder = CACHE / pin.replace("==", "-")
    if not folder.exists():
        print(f"  downloading {pin}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as d:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes"]
            subprocess.run([*pip, "--dest", d, "--requirement", str(HERE / "llama_cpp.txt")], check=True)
            with tarfile.open(next(Path(d).glob("*.tar.gz"))) as tar:
                tar.extractall(d, filter="data")
            folder.parent.mkdir(parents=True, exist_ok=True)
            next(Path(d).glob("*/vendor/llama.cpp")).rename(folder)
    return folder


FLOATS = ("f32", "f16")
NARROW = ("attn_output", "ffn_down")  # rows of 32 and the like, in tiny models
BLOCKS = {}  # a row's numbers -> its blocks: quantising those numbers again would give others


def as_stored(w, kind):
    """The numbers that a file of this kind has: what its blocks stand for."""
    import ggml_quants  # needs sources()

    if kind in FLOATS or w.ndim < 2 or w.shape[-1] % 32:
        return w
    columns = w.shape[-1]
    as_kind = ggml_quants.fitting(gguf.GGMLQuantizationType[kind.upper()], columns)
    raw = ggml_quants.quantize(np.array(w), as_kind)
    numbers = gguf.quants.dequantize(raw, as_kind).astype(np.float32)
    for row, stored in zip(numbers.reshape(-1, columns), raw.reshape(-1, raw.shape[-1])):
        BLOCKS[row.tobytes()] = stored
    return mx.array(numbers)


def write_gguf(path, config, weights, outtype):
    """Converts a Hugging Face folder of these; the tokenizer is gguf_tokenizer's, for any architecture."""
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        (folder / "config.json").write_text(json.dumps(config))
        vocab = {token: i for i, token in enumerate(vocabulary()[0])}
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": []}))
        mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
        (folder / "blocks.pickle").write_bytes(pickle.dumps(BLOCKS))
        # In a process of its own: it has its own gguf module.
        paths = os.pathsep.join(str(sources() / part) for part in ("gguf-py", ""))
        env = {**os.environ, "PYTHONPATH": paths}
        run = [sys.executable, __file__, str(folder), str(path), outtype]
        done = subprocess.run(run, env=env, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)


def keep_blocks(model, kind, blocks):
    """The converter, which writes no K-quants, gives these rows the blocks that they had."""
    from ggml_quants import fitting

    plain = gguf.quants.quantize

    def quantize(data, as_kind):
        if as_kind not in (kind, fitting(kind, 32)):
            return plain(data, as_kind)
        rows = np.ascontiguousarray(data, dtype=np.float32).reshape(-1, data.shape[-1])
        return np.stack([blocks[row.tobytes()] for row in rows]).reshape(*data.shape[:-1], -1)

    def force(self, name, new_name, bid, n_dims):
        if n_dims < 2 or "ffn_gate_inp" in new_name:
            return gguf.GGMLQuantizationType.F32
        return fitting(kind, 32) if any(part in new_name for part in NARROW) else kind

    gguf.quants.quantize = quantize
    model.tensor_force_quant = force


def main():
    folder, path, outtype = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    import conversion

    assert Path(gguf.__file__).is_relative_to(sources()), gguf.__file__
    conversion.logger.setLevel("WARNING")
    config = json.loads((folder / "config.json").read_text())
    model = conversion.get_model_class(config["architectures"][0])
    model.set_vocab = lambda self: add_tokenizer(self.gguf_writer, "qwen2")
    model.no_mtp = True
    types = gguf.LlamaFileType
    kind = {"f16": types.MOSTLY_F16, "q8_0": types.MOSTLY_Q8_0}.get(outtype, types.ALL_F32)
    if outtype not in (*FLOATS, "q8_0"):
        keep_blocks(model, gguf.GGMLQuantizationType[outtype.upper()], pickle.loads((folder / "blocks.pickle").read_bytes()))
    model(folder, kind, path, eager=True, model_name=f"tiny {config['model_type']}").write()


if __name__ == "__main__":
    main()
