"""mlx-lm's samplers and logits processors on fixed vectors: tests/data/sample/*.safetensors.

Each case in the metadata names its input and output tensors and its arguments. Masked entries are
-inf. README.md, "Samplers", has the rules.

    python tools/oracle/samplers.py
"""

from common import DATA, command, save_golden, value, versions

import mlx.core as mx
import numpy as np
from mlx_lm import sample_utils as su

V = 64


def inputs():
    """Logits (rows, V); the samplers get their log-softmax."""
    v = lambda name: value("sample." + name, V)
    ties = np.round(3 * v("ties")).astype(np.float32)
    peaked = v("peaked").copy()
    peaked[17] = 20
    two = v("two").copy()
    two[[5, 40]] = 9.0  # two equal winners
    extreme = 4 * v("extreme")
    extreme[[3, 9]] = 1e4, 9.99e3
    extreme[[4, 5]] = -1e4, -3e38
    masked = 4 * v("masked")
    masked[::3] = -np.inf
    rows = np.stack([4 * v("row0"), v("row1")])
    out = {"spread": 4 * v("spread"), "flat": np.zeros(V), "ties": ties, "peaked": peaked}
    out |= {"two": two, "extreme": extreme, "masked": masked}
    return {k: np.asarray(x, dtype=np.float32)[None] for k, x in out.items()} | {"rows": rows}


class Cases:
    def __init__(self):
        self.tensors, self.list = {}, []

    def add(self, op, name, output, **args):
        key = f"{op}.{len(self.list):03d}"
        self.tensors[key] = np.array(output)
        self.list.append({"op": op, "input": name, "output": key, "args": args})


def cut_is_a_tie(x, k):
    s = -np.sort(-x, axis=-1)
    return bool((s[:, k - 1] == s[:, k]).any())


def filters(cases, name, lp):
    x = mx.array(lp)
    for k in (1, 5, 40, 63):
        tie = cut_is_a_tie(lp, k)  # then argpartition decides which of the equal ones stay
        cases.add("top_k", name, su.apply_top_k(x, k), top_k=k, tie_at_cut=tie)
    for p in (0.1, 0.5, 0.9, 0.999):
        cases.add("top_p", name, su.apply_top_p(x, p), top_p=p)
    for p, keep in ((0.05, 1), (0.2, 1), (1.0, 1), (0.5, 3)):
        tie = keep > 1 and cut_is_a_tie(lp, keep)
        out = su.apply_min_p(x, p, keep)
        cases.add("min_p", name, out, min_p=p, min_tokens_to_keep=keep, tie_at_cut=tie)
    top = int(np.argmax(lp[0]))
    for threshold in (0.0, 0.01, 0.1, 0.5):
        for probability in (0.0, 1.0):
            for special in ([], [0, top]):
                out = su.apply_xtc(x, probability, threshold, special)
                args = {"xtc_probability": probability, "xtc_threshold": threshold}
                cases.add("xtc", name, out, **args, xtc_special_tokens=special)


CHAINS = [
    {"temp": 0.7},
    {"temp": 1.0, "top_p": 0.9},
    {"temp": 0.8, "top_p": 0.95, "min_p": 0.05},
    {"temp": 0.6, "top_p": 0.9, "top_k": 4},
    {"temp": 1.5, "min_p": 0.1, "min_tokens_to_keep": 2, "top_k": 10},
    {"temp": 1.0, "top_p": 0.99, "xtc_probability": 1.0, "xtc_threshold": 0.05},
    {
        "temp": 0.9,
        "top_p": 0.97,
        "min_p": 0.02,
        "xtc_probability": 1.0,
        "xtc_threshold": 0.04,
        "xtc_special_tokens": [7],
        "top_k": 6,
    },
    {"temp": 1.0, "top_p": 1.0, "min_p": 0.0, "top_k": 0, "xtc_probability": 0.0},
    {"temp": 0.0, "top_p": 0.5, "top_k": 3},
]


def chains(cases, name, lp):
    """What reaches the categorical draw (already divided by temp), or the greedy choice."""
    real = su.categorical_sampling
    for args in CHAINS:
        seen = []
        su.categorical_sampling = lambda x, temp: seen.append((x, temp)) or real(x, temp)
        mx.random.seed(0)
        chosen = su.make_sampler(**args)(mx.array(lp))
        su.categorical_sampling = real
        if seen:
            x, temp = seen[0]
            cases.add("chain_logprobs", name, x, **args)
            cases.add("chain_scaled", name, x * (1.0 / temp), **args)
        else:
            cases.add("chain_greedy", name, np.array(chosen).astype(np.int32), **args)


TOKENS = [3, 9, 3, 60, 3, 12, 12, 0, 63, 5, 3, 41, 22, 9, 17, 2, 30, 31, 32, 33, 34, 35, 3, 12, 50]
PROCESSORS = [
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5, "repetition_context_size": 5},
    {"repetition_penalty": 1.0},
    {"repetition_penalty": 1.3, "repetition_context_size": 0},
    {"presence_penalty": 0.7},
    {"presence_penalty": -0.7, "presence_context_size": 3},
    {"frequency_penalty": 0.4},
    {"frequency_penalty": 0.4, "frequency_context_size": 64},
    {"logit_bias": {3: 2.5, 12: -100.0, 63: 0.25}},
    {
        "logit_bias": {3: 2.5, 4: -1.0},
        "repetition_penalty": 1.2,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.2,
        "frequency_context_size": 4,
    },
]


def processors(cases, name, logits):
    for args in PROCESSORS:
        for count in (0, 1, len(TOKENS)):
            x = mx.array(logits)
            for p in su.make_logits_processors(**args):
                x = p(mx.array(TOKENS[:count], dtype=mx.int32), x)
            shown = {k: ({str(i): b for i, b in v.items()} if isinstance(v, dict) else v) for k, v in args.items()}
            cases.add("processors", name, x, **shown, token_count=count)


def log_softmax(logits):
    x = mx.array(logits)
    return np.array(x - mx.logsumexp(x, axis=-1, keepdims=True))


def part_of(op):
    """The file a case goes to."""
    if op.startswith("xtc"):
        return "xtc"
    if op.startswith("chain"):
        return "chains"
    return "processors" if op == "processors" else "filters"


def main():
    cases = Cases()
    for name, logits in inputs().items():
        lp = log_softmax(logits)
        cases.tensors[f"logits.{name}"] = logits
        cases.tensors[f"logprobs.{name}"] = lp
        filters(cases, name, lp)
        if name in ("spread", "ties", "rows"):
            chains(cases, name, lp)
        if name in ("spread", "extreme"):
            processors(cases, name, logits)
    for part in ("filters", "xtc", "chains", "processors"):
        chosen = [c for c in cases.list if part_of(c["op"]) == part]
        names = {c["input"] for c in chosen}
        keep = {c["output"] for c in chosen} | {f"{k}.{n}" for n in names for k in ("logits", "logprobs")}
        meta = {
            "versions": versions("mlx", "mlx-lm", "numpy"),
            "command": command(),
            "tolerance": "masks exact; kept values within 1e-6 relative",
            "cases": chosen,
        }
        if part == "processors":
            meta["tokens"] = TOKENS
        path = DATA / "sample" / f"{part}.safetensors"
        save_golden(path, {k: cases.tensors[k] for k in sorted(keep)}, meta)


if __name__ == "__main__":
    main()
