"""Rows in every coding and the numbers that gguf-py and MLX make of them: tests/data/cpu/codings.txt.

A line each: coding, group, then as hexadecimal bytes: data, scales, zeros ("-" for none), float32 numbers.

    python tools/oracle/codings.py
"""

from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize

COLUMNS = 256
SCALES_AT = {T.Q2_K: (80, 82), T.Q3_K: (108,), T.Q6_K: (208,), T.Q4_1: (0, 2), T.Q5_1: (0, 2), T.Q4_K: (0, 2), T.Q5_K: (0, 2)}
TYPES = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS)
random = np.random.default_rng(1)


def line(coding, group, data, scales, zeros, numbers):
    parts = [np.asarray(a).tobytes().hex() if a is not None else "-" for a in (data, scales, zeros)]
    return f"{coding} {group} {' '.join(parts)} {np.asarray(numbers, np.float32).tobytes().hex()}\n"


def gguf_line(kind):
    columns, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (COLUMNS // columns, size), np.uint8)
    for at in SCALES_AT.get(kind, (0,)):
        d = (random.uniform(0.01, 0.1, (len(blocks), 1))).astype(np.float16)
        blocks[:, at : at + 2] = d.view(np.uint8)
    return line(kind.name.lower(), 0, blocks, None, None, dequantize(blocks.reshape(1, -1), kind)[0])


def mlx_line(coding, group, bits, mode):
    w = mx.array(random.normal(size=(1, COLUMNS)).astype(np.float32))
    codes, scales, *zeros = mx.quantize(w, group_size=group, bits=bits, mode=mode)
    numbers = mx.dequantize(codes, scales, *zeros, group_size=group, bits=bits, mode=mode)
    return line(coding, group, codes, scales, zeros[0] if zeros else None, numbers.astype(mx.float32))


def main():
    lines = [gguf_line(kind) for kind in TYPES]
    lines += [mlx_line(f"affine{bits}", 64, bits, "affine") for bits in (2, 3, 4, 5, 6, 8)]
    lines += [mlx_line(*row) for row in (("mxfp4", 32, 4, "mxfp4"), ("mxfp8", 32, 8, "mxfp8"), ("nvfp4", 16, 4, "nvfp4"))]
    file = Path(__file__).resolve().parents[2] / "tests/data/cpu/codings.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(lines))


if __name__ == "__main__":
    main()
