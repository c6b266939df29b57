"""GGUF files as llama.cpp's own converter writes them; the rows of GGUF in rows/<architecture>.py need it.

The sources of llama.cpp are those inside of a pinned package (llama_cpp.txt), which is downloaded once;
the environment variable LLAMA_CPP names another folder of them.
"""

import json
import os
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
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes"]
            subprocess.run([*pip, "--dest", d, "--requirement", str(HERE / "llama_cpp.txt")], check=True)
            with tarfile.open(next(Path(d).glob("*.tar.gz"))) as tar:
                tar.extractall(d, filter="data")
            folder.parent.mkdir(parents=True, exist_ok=True)
            next(Path(d).glob("*/vendor/llama.cpp")).rename(folder)
    return folder


def as_q8_0(w):
    if w.ndim < 2 or w.shape[-1] % 32:
        return w
    blocks = gguf.quants.quantize(np.array(w), gguf.GGMLQuantizationType.Q8_0)
    return mx.array(gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType.Q8_0))


def write_gguf(path, config, weights, outtype):
    """Converts a Hugging Face folder of these; the tokenizer is gguf_tokenizer's, for any architecture."""
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        (folder / "config.json").write_text(json.dumps(config))
        vocab = {token: i for i, token in enumerate(vocabulary()[0])}
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": []}))
        mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
        # In a process of its own: it has its own gguf module.
        paths = os.pathsep.join(str(sources() / part) for part in ("gguf-py", ""))
        env = {**os.environ, "PYTHONPATH": paths}
        run = [sys.executable, __file__, str(folder), str(path), outtype]
        done = subprocess.run(run, env=env, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)


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
    kind = {"f32": types.ALL_F32, "f16": types.MOSTLY_F16, "q8_0": types.MOSTLY_Q8_0}[outtype]
    model(folder, kind, path, model_name=f"tiny {config['model_type']}").write()


if __name__ == "__main__":
    main()
