"""Writes the files of tests/data/io that other implementations made.

Needs the packages gguf, safetensors and numpy.  Run: python tools/oracle/io/io_files.py
"""

import io
import random
import warnings
import zipfile
import zlib
from pathlib import Path

import gguf
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

OUT = Path(__file__).resolve().parents[3] / "tests" / "data" / "io"
QUANT = gguf.GGMLQuantizationType


def write_gguf(path):
    w = gguf.GGUFWriter(path, "llama")
    w.add_custom_alignment(64)
    w.add_uint8("t.uint8", 200)
    w.add_int8("t.int8", -100)
    w.add_uint16("t.uint16", 60000)
    w.add_int16("t.int16", -30000)
    w.add_uint32("t.uint32", 4000000000)
    w.add_int32("t.int32", -2000000000)
    w.add_float32("t.float32", 0.1)
    w.add_bool("t.bool", True)
    w.add_string("t.string", "grüße 🌍")
    w.add_uint64("t.uint64", 18446744073709551615)
    w.add_int64("t.int64", -9223372036854775808)
    w.add_float64("t.float64", 0.1)
    w.add_array("t.strings", ["a", "", "ß"])
    w.add_array("t.ints", [1, -2, 3])
    w.add_array("t.floats", [0.5, -1.25])
    w.add_array("t.bools", [True, False, True])
    rng = np.random.default_rng(1)
    w.add_tensor("f32", rng.standard_normal((2, 3, 5), dtype=np.float32))
    w.add_tensor("f16", rng.standard_normal((7,), dtype=np.float32).astype(np.float16))
    for kind in (QUANT.BF16, QUANT.Q4_0, QUANT.Q4_1, QUANT.Q8_0):
        x = rng.standard_normal((3, 64), dtype=np.float32)
        w.add_tensor(kind.name.lower(), gguf.quants.quantize(x, kind), raw_dtype=kind)
    block, size = gguf.GGML_QUANT_SIZES[QUANT.Q4_K]
    raw = rng.integers(0, 256, (2, 2 * size), dtype=np.uint8)
    w.add_tensor("q4_k", raw, raw_dtype=QUANT.Q4_K)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def list_gguf(path, out):
    reader = gguf.GGUFReader(path)
    lines = []
    for t in reader.tensors:
        dims = ",".join(str(int(d)) for d in t.shape)
        crc = zlib.crc32(t.data.tobytes())
        lines.append(f"{t.name} {t.tensor_type.name} {dims} {t.n_bytes} {crc}\n")
    out.write_text("".join(lines))


def write_types(out):
    lines = [f"{int(t)} {t.name} {n} {b}\n" for t, (n, b) in gguf.GGML_QUANT_SIZES.items()]
    out.write_text("".join(lines))


def write_safetensors(path, out):
    rng = np.random.default_rng(2)
    tensors = {
        "f32": rng.standard_normal((2, 3), dtype=np.float32),
        "f16": rng.standard_normal((5,), dtype=np.float32).astype(np.float16),
        "i64": rng.integers(-9, 9, (2, 2)),
        "u8": rng.integers(0, 256, (3,), dtype=np.uint8),
        "bool": np.array([True, False]),
        "scalar": np.array(1.5),
        "empty": np.zeros((0, 4), dtype=np.int32),
    }
    save_file(tensors, path, metadata={"format": "np", "note": 'ß "quoted"'})
    lines = []
    with safe_open(path, framework="np") as f:
        for name in sorted(f.keys()):
            s = f.get_slice(name)
            shape = ",".join(str(n) for n in s.get_shape())
            crc = zlib.crc32(f.get_tensor(name).tobytes())
            lines.append(f"{name} {s.get_dtype()} [{shape}] {crc}\n")
    out.write_text("".join(lines))


def write_utf8(out):
    """Each line: bytes in hex, then what Python makes of them with errors='replace', in hex."""
    rng = random.Random(3)
    pieces = [b"a", b"\x00", "ß".encode(), "€".encode(), "🌍".encode(), b"\x80", b"\xc0", b"\xc2"]
    pieces += [b"\xe0", b"\xe0\xa0", b"\xed\x9f", b"\xed\xa0", b"\xef\xbf", b"\xf0", b"\xf0\x90"]
    pieces += [b"\xf0\x90\x80", b"\xf4\x8f\xbf", b"\xf4\x90", b"\xf5", b"\xff", b"\xbf", b"\x9f"]
    lines = []
    for _ in range(400):
        raw = b"".join(rng.choices(pieces, k=rng.randint(1, 5)))
        lines.append(f"{raw.hex()} {raw.decode('utf-8', 'replace').encode().hex()}\n")
    out.write_text("".join(lines))


def npz_tensors():
    rng = np.random.default_rng(4)
    return {
        "f32": rng.standard_normal((2, 3), dtype=np.float32),
        "layers.0.f16": rng.standard_normal((5,), dtype=np.float32).astype(np.float16),
        "i64": rng.integers(-9, 9, (2, 2)),
        "u8": rng.integers(0, 256, (3,), dtype=np.uint8),
        "bool": np.array([True, False, True]),
        "scalar": np.array(1.5, dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=np.int32),
        "big_endian": rng.standard_normal((3, 2), dtype=np.float32).astype(">f4"),
        "big_i16": rng.integers(-900, 900, (4,)).astype(">i2"),
        "fortran": np.asfortranarray(rng.standard_normal((2, 3, 4), dtype=np.float32)),
        "big_fortran": np.asfortranarray(rng.standard_normal((3, 2), dtype=np.float32)).astype(">f4", order="F"),
        "bf16": np.array([1.0, -2.5, 3.140625], dtype=np.float32).view(np.uint16)[1::2].view("V2"),
    }


def write_npz(out):
    """A stored and a deflated archive, what is in them, and two that no loader may take."""
    tensors = npz_tensors()
    np.savez(out / "stored.npz", **tensors)
    np.savez_compressed(out / "deflated.npz", **tensors)
    lines = []
    for name, a in tensors.items():
        numbers = [1.0, -2.5, 3.140625] if name == "bf16" else a.astype(np.float64).ravel()
        dtype = "bfloat16" if name == "bf16" else a.dtype.newbyteorder("=").name
        shape = ",".join(str(n) for n in a.shape)
        lines.append(f"{name} {dtype} [{shape}] {' '.join(repr(float(v)) for v in numbers)}".rstrip() + "\n")
    (out / "npz.txt").write_text("".join(lines))
    one = io.BytesIO()
    np.save(one, tensors["u8"])
    with warnings.catch_warnings(), zipfile.ZipFile(out / "twice.npz", "w") as z:
        warnings.simplefilter("ignore")
        z.writestr("a.npy", one.getvalue())
        z.writestr("a.npy", one.getvalue())
    with zipfile.ZipFile(out / "other_member.npz", "w") as z:
        z.writestr("notes.txt", "not an array")


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    write_gguf(OUT / "typed.gguf")
    list_gguf(OUT / "typed.gguf", OUT / "typed.gguf.txt")
    write_types(OUT / "ggml_types.txt")
    write_safetensors(OUT / "small.safetensors", OUT / "small.safetensors.txt")
    write_utf8(OUT / "utf8.txt")
    write_npz(OUT)


if __name__ == "__main__":
    main()
