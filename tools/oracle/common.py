"""What all oracle scripts share: versions, name-seeded weights, safetensors with metadata."""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import numpy as np

DATA = Path(__file__).resolve().parents[2] / "tests" / "data"
MAX_FILE = 100_000  # bytes; a golden that grows beyond this does not belong in git
PACKAGES = ["mlx", "mlx-lm", "transformers", "torch", "tokenizers", "numpy", "gguf", "safetensors"]


def versions(*names):
    """Versions of the packages that produced a file, as a dict."""
    out = {"python": platform.python_version()}
    for name in names or PACKAGES:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            out[name] = None
    return out


def command():
    """The command that regenerates the file, free of machine paths."""
    script = Path(sys.argv[0]).name
    return f"python tools/oracle/{script}"


# --- name-seeded weights (README.md, "Name-seeded weights") -------------------------------------


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def splitmix64(x):
    """One splitmix64 output for each 64-bit state in `x` (uint64 array; arithmetic wraps)."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def value(name, count):
    """`count` floats in [-1, 1) for a tensor name; every one is exact in float32."""
    with np.errstate(over="ignore"):
        state = np.uint64(fnv1a64(name)) + np.arange(count, dtype=np.uint64)
        top = splitmix64(state) >> np.uint64(40)
    return ((top.astype(np.int64) - (1 << 23)) / float(1 << 23)).astype(np.float32)


WEIGHTS_RULE = (
    "value(name, i) = (splitmix64(fnv1a64(name) + i) >> 40) / 2^23 - 1; "
    "*norm.weight, *scale, *scalar = 1 + 0.25 * value; all other tensors = 0.25 * value; row-major"
)


def seeded(name, shape):
    """The tensor `name` of a golden model: WEIGHTS_RULE."""
    v = value(name, int(np.prod(shape))).reshape(shape)
    if name.endswith(("norm.weight", "scale", "scalar")):
        return np.float32(1) + np.float32(0.25) * v
    return np.float32(0.25) * v


# --- files --------------------------------------------------------------------------------------


def save_golden(path, tensors, meta):
    """Writes tensors + metadata (dicts become JSON text), refuses a file over MAX_FILE."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    text = {k: v if isinstance(v, str) else json.dumps(v) for k, v in meta.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, path, metadata=text)
    check_size(path)


def save_json(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    check_size(path)


def check_size(path):
    size = path.stat().st_size
    if size > MAX_FILE:
        raise SystemExit(f"{path.name}: {size} bytes, more than {MAX_FILE}")
    print(f"{path.name}  {size}", flush=True)
