"""Compares this project's speed with llama.cpp's and mlx-lm's: same weights, same threads, runs in turn.

    python3 -m venv venv && venv/bin/pip install --require-hashes -r benchmarks/peers/requirements.txt
    venv/bin/python benchmarks/peers/peers.py [--mlxcpp FILE] [--models NAME ...] [--rounds N] [--json FILE]

Builds llama.cpp for this CPU (llama_cpp.py), writes the synthetic models (../models/synthetic.py) and waits before each
run until the machine is idle. llama.cpp runs with flash attention on and off; ours is compared with the faster one.
"""

import argparse
import json
import os
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent / "models")]

import llama_cpp  # noqa: E402
import synthetic  # noqa: E402
from gguf_to_mlx import convert  # noqa: E402
from quiet import Neighbours, run, wait_for_idle  # noqa: E402

PROMPTS, DEPTHS, BATCHES = [32, 512, 2048], [0, 512, 2048], [4, 8, 16]
GENERATE, BATCH_PROMPT, BATCH_GENERATE = 32, 128, 32
OURS, FLASH, PLAIN = "mlxcpp", "llama.cpp -fa on", "llama.cpp -fa off"
NOISY = 0.15  # cores that others used: more is noted
CONVERTED = "smollm2-135m-mlx"  # the default model for mlx-lm, losslessly
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n".format(
    "What is the capital of France, and which river does it stand on? Answer in one short sentence.")


@dataclass
class Pair:
    """A model as we take it and as llama.cpp does; mlx: as mlx-lm does."""

    ours: str
    llama: str
    mlx: str = ""


# None: the default model.
MODELS = {
    "135m-q4_1": Pair("", "", CONVERTED),
    "0.6b-q4_0": Pair("qwen3-0.6b-q4_0.gguf", "qwen3-0.6b-q4_0.gguf"),
    "0.6b-affine4": Pair("qwen3-0.6b-mlx4", "qwen3-0.6b-q4_0.gguf", "qwen3-0.6b-mlx4"),
    "0.6b-q4_k_m": Pair("qwen3-0.6b-q4_k_m.gguf", "qwen3-0.6b-q4_k_m.gguf"),
    "1b-q4_0": Pair("llama-1b-q4_0.gguf", "llama-1b-q4_0.gguf"),
    "1b-affine4": Pair("llama-1b-mlx4", "llama-1b-q4_0.gguf", "llama-1b-mlx4"),
    "1b-q4_k_m": Pair("llama-1b-q4_k_m.gguf", "llama-1b-q4_k_m.gguf"),
    "1b-bf16": Pair("llama-1b-bf16", "llama-1b-bf16.gguf"),
}
GROUPS = ["prefill", "decode", "batch", "first", "contention", "mlx-lm"]


@dataclass
class Point:
    """One test of one model: the figures of each program, in the order of the rounds."""

    model: str
    test: str
    unit: str = "tokens/s"
    values: dict = field(default_factory=dict)
    noisy: set = field(default_factory=set)

    def median(self, program):
        return statistics.median(self.values[program])

    def ratio(self):
        """Ours over the best other's: above 1 is better."""
        others = [self.median(p) for p in self.values if p != OURS]
        if OURS not in self.values or not others:
            return None
        if self.unit == "tokens/s":
            return self.median(OURS) / max(others)
        return min(others) / self.median(OURS)


def objects(text):
    for line in text.splitlines():
        if line.startswith("{"):
            yield json.loads(line)


class Peers:
    def __init__(self, args):
        self.args = args
        self.bin = llama_cpp.programs()
        self.points = {}
        self.neighbours = 0  # that are meant to compute

    def say(self, text):
        print(text, file=sys.stderr, flush=True)

    def note(self, model, test, program, value, ran, unit="tokens/s"):
        point = self.points.setdefault((model, test), Point(model, test, unit))
        point.values.setdefault(program, []).append(value)
        if ran.others > NOISY + self.neighbours:
            point.noisy.add(program)

    def run(self, program, args, env=None, patience=None):
        ran = run(args, self.args.patience if patience is None else patience, self.args.limit, env)
        if ran.code != 0:
            self.say(f"{program}: failed with {ran.code}: {ran.err.strip().splitlines()[-1:]}\n  {' '.join(map(str, args))}")
            return None
        return ran

    def ours(self, *args):
        return [self.args.mlxcpp, *args]

    def path(self, name):
        if not name:
            return self.args.default_model
        if name == CONVERTED:
            folder = self.args.model_folder / name
            if not (folder / "model.safetensors").exists():
                convert(self.args.default_model, folder)
            return folder
        return synthetic.make(self.args.model_folder, name, self.args.tokenizer)

    # --- What is measured -----------------------------------------------------------------------

    def our_bench(self, model, prefix, *args, patience=None):
        command = self.ours("bench", "--json", "--model", self.path(MODELS[model].ours), "-r", "1",
                            "--threads", self.args.threads, *args)  # fmt: skip
        if ran := self.run(OURS, command, patience=patience):
            for o in objects(ran.out):
                test = f"batch {o['batch']}" if o["batch"] > 1 else f"{o['test']} @ {o['depth']}"
                self.note(model, prefix + test, OURS, o["tokens_per_second"]["median"], ran)

    def llama_bench(self, model, prefix, program, *args, patience=None):
        command = [self.bin / "llama-bench", "-m", self.path(MODELS[model].llama), "-t", self.args.threads, "-r", "1",
                   "-fa", program.split()[-1], "-o", "jsonl", *args]  # fmt: skip
        if ran := self.run(program, command, patience=patience):
            for o in objects(ran.out):
                test = f"pp{o['n_prompt']}" if o["n_prompt"] else f"tg{o['n_gen']}"
                self.note(model, f"{prefix}{test} @ {o['n_depth']}", program, o["avg_ts"], ran)

    def prefill(self, model):
        lengths = ",".join(map(str, PROMPTS))
        self.our_bench(model, "", "-p", lengths, "-n", "0")
        for program in (FLASH, PLAIN):
            self.llama_bench(model, "", program, "-p", lengths, "-n", "0")

    def decode(self, model, depths=DEPTHS, prefix="", patience=None):
        depths = ",".join(map(str, depths))
        self.our_bench(model, prefix, "-p", "0", "-n", GENERATE, "-d", depths, patience=patience)
        for program in (FLASH, PLAIN):
            self.llama_bench(model, prefix, program, "-p", "0", "-n", GENERATE, "-d", depths, patience=patience)

    def batch(self, model):
        rows = ",".join(map(str, BATCHES))
        self.our_bench(model, "", "-p", "0", "-n", BATCH_GENERATE, "-d", BATCH_PROMPT, "-b", rows)
        for program in (FLASH, PLAIN):
            command = [self.bin / "llama-batched-bench", "-m", self.path(MODELS[model].llama), "-t", self.args.threads,
                       "-fa", program.split()[-1], "-c", max(BATCHES) * (BATCH_PROMPT + BATCH_GENERATE), "-npp", BATCH_PROMPT,
                       "-ntg", BATCH_GENERATE, "-npl", rows, "--output-format", "jsonl"]  # fmt: skip
            if ran := self.run(program, command):
                for o in objects(ran.out):
                    self.note(model, f"batch {o['pl']}", program, o["speed_tg"], ran)

    def first(self, model):
        """From the start of the process to its first token, and the most memory, with warm files."""
        pair = MODELS[model]
        ours = self.ours("generate", "--model", self.path(pair.ours), "--temp", "0", "--max-tokens", "1", "--ignore-eos",
                         "--ignore-chat-template", "--prompt", CHAT)  # fmt: skip
        theirs = [self.bin / "llama-completion", "-m", self.path(pair.llama), "-c", "2048", "-fit", "off", "-t",
                  self.args.threads, "--temp", "0", "-n", "1", "--ignore-eos", "-no-cnv", "--no-display-prompt", "-p", CHAT]  # fmt: skip
        for program, command in ((OURS, ours), ("llama.cpp", theirs)):
            if ran := self.run(program, command, {"MLXCPP_THREADS": str(self.args.threads)}):
                self.note(model, "first token", program, ran.first_word * 1000, ran, "ms")
                self.note(model, "peak memory", program, ran.peak_mb, ran, "MB")

    def contention(self, model):
        """Decoding beside processes that compute all the time."""
        for count in (0, 1, 2):
            wait_for_idle(self.args.patience)
            self.neighbours = count
            with Neighbours(count):
                patience = None if count == 0 else 0
                self.decode(model, [512], f"{count} neighbours, ", patience)
        self.neighbours = 0

    def mlx_lm(self, model):
        """Few tokens: it is a hundred times slower."""
        folder = MODELS[model].mlx
        if not folder:
            return
        command = [sys.executable, HERE / "mlx_lm_speed.py", self.path(folder), "32", "4"]
        if ran := self.run("mlx-lm", command):
            for o in objects(ran.out):
                for test in ("pp32", "tg4"):
                    self.note(model, f"mlx-lm {test} @ 0", "mlx-lm float32", o[test], ran)
                self.our_bench(model, "mlx-lm ", "-p", "32", "-n", "4")

    # --- All of it ------------------------------------------------------------------------------

    def measure(self):
        once = {"mlx-lm"}
        for model in self.args.models:
            for group in self.args.groups:
                if group == "contention" and model not in self.args.contention_models:
                    continue
                for number in range(1 if group in once else self.args.rounds):
                    self.say(f"{model}: {group}, round {number + 1} of {self.args.rounds}")
                    getattr(self, group.replace("-", "_"))(model)

    def table(self):
        rows = [["model", "test", "unit", "ours", "llama.cpp -fa on", "-fa off", "other", "ratio"]]
        for p in self.points.values():
            cell = lambda program: self.cell(p, program)
            others = [x for x in p.values if x not in (OURS, FLASH, PLAIN)]
            ratio = p.ratio()
            rows.append([p.model, p.test, p.unit, cell(OURS), cell(FLASH), cell(PLAIN),
                         f"{others[0]}: {cell(others[0])}" if others else "",
                         f"{ratio:.2f}" if ratio is not None else "-"])  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths)) + " |" for row in rows]
        lines.insert(1, "|" + "|".join("-" * (w + 2) for w in widths) + "|")
        return "\n".join(lines)

    @staticmethod
    def cell(point, program):
        values = point.values.get(program)
        if not values:
            return ""
        digits = 1 if max(values) < 1000 else 0
        text = f"{statistics.median(values):.{digits}f}"
        if len(values) > 1:
            text += f" ({min(values):.{digits}f}-{max(values):.{digits}f})"
        return text + (" [N]" if program in point.noisy else "")

    def slowdowns(self):
        """How many times longer decoding takes beside neighbours than alone, a line each."""
        for (model, test), point in self.points.items():
            if " neighbours, " not in test or test.startswith("0"):
                continue
            alone = self.points.get((model, "0" + test[1:]))
            times = [f"{program} {alone.median(program) / point.median(program):.2f}"
                     for program in point.values if alone and program in alone.values]  # fmt: skip
            yield f"{model}, {test}: {', '.join(times)} times as long as alone"

    def as_json(self):
        return [
            {"model": p.model, "test": p.test, "unit": p.unit, "values": p.values, "noisy": sorted(p.noisy), "ratio": p.ratio()}
            for p in self.points.values()
        ]


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown CPU")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mlxcpp", type=Path, default=ROOT / "build" / "release" / "bin" / "mlxcpp", help="the command")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME", help=", ".join(MODELS))
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=GROUPS, metavar="GROUP", help=", ".join(GROUPS))
    parser.add_argument("--contention-models", nargs="*", choices=MODELS, default=["135m-q4_1", "1b-q4_0"], metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for an idle machine before a run")
    parser.add_argument("--limit", type=float, default=900, help="seconds after which a run is ended")
    parser.add_argument("--model-folder", type=Path, default=llama_cpp.CACHE / "models", help="of the synthetic models")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures, too")
    args = parser.parse_args()
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads: at least 1")
    if not args.mlxcpp.exists():
        parser.error(f"{args.mlxcpp}: not there; try `make build`, or --mlxcpp")
    return args


def main():
    args = parse()
    args.model_folder.mkdir(parents=True, exist_ok=True)
    args.tokenizer, args.default_model = synthetic.default_tokenizer()
    peers = Peers(args)
    try:
        peers.measure()
    except KeyboardInterrupt:
        peers.say("interrupted; what there is so far:")
    print(f"{cpu_name()}, {args.threads} threads; llama.cpp of {llama_cpp.pin()}; medians (min-max) of {args.rounds}.")
    print("ratio: ours over the faster of llama.cpp's two settings. [N]: other programs used the cores meanwhile.\n")
    print(peers.table())
    print("", *peers.slowdowns(), sep="\n")
    if args.json:
        args.json.write_text(json.dumps({"cpu": cpu_name(), "threads": args.threads, "points": peers.as_json()}, indent=1))


if __name__ == "__main__":
    main()
