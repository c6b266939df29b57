"""llama.cpp built for this CPU, from the sources inside of the package that tools/oracle pins.

    python benchmarks/peers/llama_cpp.py        prints the folder of its programs; builds them once (7 minutes on 2 cores)
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PIN = ROOT / "tools" / "oracle" / "llama_cpp.txt"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlxcpp" / "peers"
PROGRAMS = ["llama-bench", "llama-batched-bench", "llama-completion", "llama-quantize"]
OPTIONS = [
    "-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF",
]  # fmt: skip
# g++ 12's _tile_loadconfig names 8 of the 64 bytes that it reads, so the stores before it may be dropped and the
# program crashes at the first prompt of two tokens.
TILE_CONFIG = re.compile(r"^( *)(_tile_loadconfig\(&(\w+)\);)", re.MULTILINE)
TILE_CONFIG_FIX = r'\1__asm__ volatile("" : : "r"(&\3) : "memory");\n\1\2'


def pin():
    return PIN.read_text().split()[0]


def download(folder):
    """The sources, patched, at `folder`."""
    print(f"downloading {pin()} (77 MB)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as d:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python", "--require-hashes"]
        subprocess.run([*pip, "--dest", d, "--requirement", str(PIN)], check=True)
        with tarfile.open(next(Path(d).glob("*.tar.gz"))) as tar:
            tar.extractall(d, filter="data")
        sources = next(Path(d).glob("*/vendor/llama.cpp"))
        (sources / ".git").unlink(missing_ok=True)  # with it, ninja asks CMake again and again
        patched = 0
        for file in (sources / "ggml" / "src" / "ggml-cpu").rglob("*.cpp"):
            text, count = TILE_CONFIG.subn(TILE_CONFIG_FIX, file.read_text())
            if count:
                file.write_text(text)
                patched += count
        if not patched:
            raise SystemExit(f"{pin()}: _tile_loadconfig not found; the patch in {Path(__file__).name} is out of date")
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(sources, folder)


def programs():
    """The folder of the built programs."""
    folder = CACHE / pin().replace("==", "-")
    build = folder / "build"
    if not all((build / "bin" / name).exists() for name in PROGRAMS):
        sources = folder / "llama.cpp"
        if not sources.exists():
            download(sources)
        print("building llama.cpp (some minutes)", file=sys.stderr)
        say = {"stdout": sys.stderr, "check": True}
        subprocess.run(["cmake", "-S", sources, "-B", build, "-G", "Ninja", *OPTIONS], **say)
        subprocess.run(["cmake", "--build", build, "--target", *PROGRAMS], **say)
    return build / "bin"


if __name__ == "__main__":
    print(programs())
