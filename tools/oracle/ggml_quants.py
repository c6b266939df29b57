"""Quantises rows as llama.cpp does, also to the formats that gguf-py only reads (K-quants, IQ4_NL, IQ4_XS).

llama.cpp's own source file is compiled, once, with the machine's C compiler.
"""

import ctypes
import subprocess
import tempfile
from pathlib import Path

import llama_cpp

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import quantize as quantize_in_python

FUNCTIONS = {
    T.Q2_K: "quantize_q2_K",
    T.Q3_K: "quantize_q3_K",
    T.Q4_K: "quantize_q4_K",
    T.Q5_K: "quantize_q5_K",
    T.Q6_K: "quantize_q6_K",
    T.IQ4_NL: "quantize_iq4_nl",
    T.IQ4_XS: "quantize_iq4_xs",
}
# What the file wants of the rest of ggml: the bytes of a row, to step from one to the next.  We give it one row.
REST = """
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
size_t ggml_row_size(int type, int64_t n) { return 0; }
size_t ggml_type_size(int type) { return 0; }
const char* ggml_type_name(int type) { return ""; }
void ggml_abort(const char* file, int line, const char* format, ...) { abort(); }
"""
_library = None


def library():
    global _library
    if _library is None:
        ggml = llama_cpp.sources() / "ggml"
        with tempfile.TemporaryDirectory() as d:
            (Path(d) / "rest.c").write_text(REST)
            includes = [f"-I{ggml / 'include'}", f"-I{ggml / 'src'}"]
            files = [str(ggml / "src" / "ggml-quants.c"), f"{d}/rest.c"]
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", *includes, *files, "-lm", "-o", f"{d}/q.so"], check=True)
            _library = ctypes.CDLL(f"{d}/q.so")
    return _library


def quantize(weights, kind):
    """(..., columns) float32 -> (..., bytes of a row) uint8; F32, F16 and BF16 as gguf-py has them."""
    if kind not in FUNCTIONS:
        return quantize_in_python(weights, kind)
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    rows = np.ascontiguousarray(weights, dtype=np.float32).reshape(-1, weights.shape[-1])
    out = np.zeros((len(rows), rows.shape[-1] // numbers * size), dtype=np.uint8)
    one = getattr(library(), FUNCTIONS[kind])
    pointer = lambda a: a.ctypes.data_as(ctypes.c_void_p)
    for row, to in zip(rows, out):
        one(pointer(row), pointer(to), ctypes.c_int64(1), ctypes.c_int64(len(row)), None)
    return out.reshape(*weights.shape[:-1], -1)


def fitting(kind, columns):
    """The type that llama.cpp takes where rows do not fill blocks of 256."""
    if columns % gguf.GGML_QUANT_SIZES[kind][0] == 0:
        return kind
    return {T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0}.get(kind, T.IQ4_NL)
