"""The C++ side: a program that reads and writes JSON."""

import json
import subprocess
from pathlib import Path


class Program:
    def __init__(self, path, folder):
        self.path = path
        self.folder = Path(folder)

    def _run(self, verb, given, *before):
        sent, got = self.folder / f"{verb}.in.json", self.folder / f"{verb}.out.json"
        sent.write_text(json.dumps(given), encoding="utf-8")
        done = subprocess.run([self.path, verb, *map(str, before), sent, got], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return json.loads(got.read_text(encoding="utf-8"))

    def tokenize(self, tokenizer, raws):
        return self._run("tokenize", [raw.hex() for raw in raws], tokenizer)

    def render(self, cases):
        return self._run("render", cases)
