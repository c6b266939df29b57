"""Prompt-cache files as mlx-lm writes them: tests/data/cache/<name>.safetensors.

Beside each stands <name>_expected.safetensors: the model's configuration, the ids the cache has
consumed, and the logits of three further steps from the loaded file. README.md, "Caches", has the
layout.

    python tools/oracle/caches.py               what this mlx-lm writes (0.32.2)
    python tools/oracle/caches.py read FOLDER   what mlxcpp wrote: mlx-lm goes on with it, by kinds
    MLX_LM_OLDER=FOLDER python tools/oracle/caches.py [read FOLDER]

The last one does the same with mlx-lm of before its 0.32.0, unpacked there: 0.31.3 as released
(files v31_*), or its source of August 2026, d78bf58 (files v32_*).
"""

import os
import sys
from pathlib import Path

OLDER = os.environ.get("MLX_LM_OLDER")
if OLDER:
    sys.path.insert(0, OLDER)

from common import DATA, WEIGHTS_RULE, check_size, command, save_golden, save_json, seeded, value, versions
from golden import Mlx, checkpoint, dense_weights, prompt_ids
from rows import ROWS
from rows.llama import BASE as LLAMA
from rows.row import Row

import mlx_lm
import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.models import cache as C

FOLDER = DATA / "cache"
VERSION = mlx_lm.__version__
PREFIX = f"v{VERSION.split('.')[1]}_" if OLDER else "of_"
STEPS, FURTHER = 5, 3
BASE = {"hidden_size": 32, "intermediate_size": 64, "vocab_size": 64}  # head_dim 8: small files
WIDE = {**BASE, "head_dim": 32, "num_key_value_heads": 1}  # a quantised row needs 32 numbers
WINDOW = {
    **BASE,
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": 8,
}


def row(name, config, make, **how):
    """Prefill of 24, five steps, save; load, three further steps."""
    prefill = how.get("prefill", [24])
    r = Row(name, config, base=LLAMA)
    model = Mlx(r.config(), dense_weights(r)).model
    caches = [make(i) for i in range(len(model.layers))]
    ids = prompt_ids(config["vocab_size"])
    consumed = []

    def forward(chunk, on):
        return np.array(model(mx.array(chunk)[None], cache=on)[0].astype(mx.float32))

    start = 0
    for n in prefill:
        last = forward(ids[start : start + n], caches)[-1]
        start += n
    consumed += ids[:start].tolist()
    for _ in range(STEPS):
        token = int(np.argmax(last))
        last = forward([token], caches)[-1]
        consumed.append(token)
    path = FOLDER / f"{name}.safetensors"
    C.save_prompt_cache(str(path), caches, how.get("metadata", {"model": "tiny", "note": name}))
    check_size(path)

    loaded = C.load_prompt_cache(str(path))
    tokens, logits, kept = [], [], []
    for _ in range(FURTHER):
        tokens.append(int(np.argmax(last)))
        last = forward(tokens[-1:], loaded)[-1]
        kept.append(forward(tokens[-1:], caches)[-1])
        logits.append(last)
    assert np.array_equal(np.stack(logits), np.stack(kept)), name
    for c in loaded:
        assert c.offset == len(consumed) + FURTHER
    save_golden(
        FOLDER / f"{name}_expected.safetensors",
        {
            "ids": np.array(consumed, dtype=np.int32),
            "tokens": np.array(tokens, dtype=np.int32),
            "step_logits": np.stack(logits),
        },
        {
            "config": r.config(),
            "caches": [type(c).__name__ for c in caches],
            "prefill": prefill,
            "weights_rule": WEIGHTS_RULE,
            "versions": versions("mlx", "numpy") | {"mlx-lm": VERSION} if OLDER else versions("mlx", "mlx-lm", "numpy"),
            "command": command(),
            "tolerance": "1e-4 of the largest absolute logit",
            "note": how.get("note", ""),
        },
    )


def hand_made():
    """Caches whose content is name-seeded: the layout of every state without a model."""
    arrays = C.ArraysCache(3)
    arrays[0] = mx.array(value("cache.conv", 2 * 3 * 4).reshape(2, 3, 4))
    arrays[2] = mx.array(value("cache.state", 2 * 2 * 5).reshape(2, 2, 5)).astype(mx.bfloat16)
    batch = C.ArraysCache(1, left_padding=[2, 0])
    batch[0] = mx.array(value("cache.batch", 8).reshape(2, 4))
    batch.lengths = mx.array([5, 3])
    empty = C.KVCache()
    chunked = C.ChunkedKVCache(4)
    k = lambda name, n: mx.array(value(name, n * 4).reshape(1, 1, n, 4))
    chunked.update_and_fetch(k("cache.k", 7), k("cache.v", 7))
    chunked.maybe_trim_front()
    pair = C.CacheList(C.ArraysCache(1), C.RotatingKVCache(max_size=4, keep=1))
    pair[0][0] = k("cache.pair", 2)
    pair[1].update_and_fetch(k("cache.pk", 3), k("cache.pv", 3))
    one = C.ConcatenateKVCache()
    one.update_and_fetch(k("cache.ck", 3), k("cache.cv", 3))
    path = FOLDER / "hand_made.safetensors"
    caches = [arrays, batch, empty, chunked, pair, one]
    C.save_prompt_cache(str(path), caches)
    check_size(path)
    C.save_prompt_cache(str(FOLDER / "classes.safetensors"), [c for c in caches if c is not batch])
    plain = lambda tree: [
        (k, v.tolist() if isinstance(v, mx.array) else v) for k, v in tree_flatten(tree)
    ]
    for saved, loaded in zip(caches, C.load_prompt_cache(str(path))):
        assert type(saved) is type(loaded) and plain(saved.state) == plain(loaded.state), saved


ARCHITECTURES = ["deepseek_v3", "deepseek_v32", "falcon_h1", "gemma3_text", "gemma3n", "gemma4_text"]
ARCHITECTURES += ["gpt_oss", "lfm2", "llama4", "mamba2", "nemotron_h", "phi3", "qwen3_5", "qwen3_next"]
OLDER_KINDS = {"v31_": ["falcon_h1", "mamba2"], "v32_": ["deepseek_v32", "falcon_h1", "llama4"]}


# The plain row, but where mlx-lm and transformers disagree on it.
ROW_OF = {"mamba2": "mamba2_one_group"}


def model_of(file):
    """mlx-lm's model of a row of rows/, in float32."""
    row = next(r for r in ROWS if f"{r.architecture}_{r.name}" == file)
    config, weights, _ = checkpoint(row)
    return Mlx(config, row.mlx_weights(weights)).model, row.text_config()["vocab_size"]


def step(model, caches, token):
    return np.array(model(mx.array([[token]]), cache=caches)[0, -1].astype(mx.float32))


def shorten(c):
    """Buffers without what is not used yet: small files."""
    for part in getattr(c, "caches", []):
        shorten(part)
    if type(c) in (C.KVCache, C.ChunkedKVCache) and c.keys is not None:
        n = c.offset - getattr(c, "start_position", 0)
        if not OLDER or n == c.offset:  # older ones take the buffer's length for the offset
            c.keys, c.values = c.keys[..., :n, :], c.values[..., :n, :]


def architecture(name):
    """Every cache that the model makes for itself: prefill of 24, five steps, save, three more."""
    of = ROW_OF.get(name, f"{name}_plain")
    model, vocab = model_of(of)
    caches = C.make_prompt_cache(model)
    ids = prompt_ids(vocab)
    last = np.array(model(mx.array(ids)[None], cache=caches)[0, -1].astype(mx.float32))
    consumed = ids.tolist()
    for _ in range(STEPS):
        consumed.append(int(np.argmax(last)))
        last = step(model, caches, consumed[-1])
    for c in caches:
        shorten(c)
    file = PREFIX + name
    path = FOLDER / f"{file}.safetensors"
    C.save_prompt_cache(str(path), caches, {"model": of})
    check_size(path)
    go_on(file, consumed, last, lambda t: step(model, caches, t), {"row": of})


def go_on(file, consumed, last, forward, meta):
    """What three further steps give, beside the file."""
    tokens, logits = [], []
    for _ in range(FURTHER):
        tokens.append(int(np.argmax(last)))
        last = forward(tokens[-1])
        logits.append(last)
    save_golden(
        FOLDER / f"{file}_expected.safetensors",
        {
            "ids": np.array(consumed, dtype=np.int32),
            "tokens": np.array(tokens, dtype=np.int32),
            "step_logits": np.stack(logits),
        },
        {**meta, "versions": f"mlx-lm {VERSION}", "command": command(), "weights_rule": WEIGHTS_RULE},
    )


def fresh(c):
    """A cache without content of the same class and size."""
    if isinstance(c, C.CacheList):
        return C.CacheList(*(fresh(p) for p in c.caches))
    if isinstance(c, C.RotatingKVCache):
        return C.RotatingKVCache(max_size=c.max_size, keep=c.keep)
    if isinstance(c, C.QuantizedKVCache):
        return C.QuantizedKVCache(group_size=c.group_size, bits=c.bits)
    if isinstance(c, C.ChunkedKVCache):
        return C.ChunkedKVCache(c.chunk_size)
    return C.ArraysCache(len(c.cache)) if isinstance(c, C.ArraysCache) else type(c)()


def kinds_of(caches):
    """Names of all classes, those inside lists too."""
    names = set()
    for c in caches:
        names |= kinds_of(c.caches) if isinstance(c, C.CacheList) else {type(c).__name__}
    return names


def read(folder):
    """mlx-lm goes on with each file as it does without it."""
    worst, seen = 0.0, set()
    for path in sorted(Path(folder).glob("*.safetensors")):
        if path.name.startswith("own_"):  # forms that mlx-lm has not
            continue
        if not OLDER and path.name[:4] in OLDER_KINDS or OLDER and not path.name.startswith(PREFIX):
            continue
        loaded, meta = C.load_prompt_cache(str(path), return_metadata=True)
        ids = [int(i) for i in meta["mlxcpp_tokens"].split()]
        model, vocab = model_of(meta["model"])
        made = C.make_prompt_cache(model)
        plain = [fresh(c) for c in loaded]
        for token in ids:
            last = step(model, plain, token)
        difference = 0.0
        for _ in range(FURTHER):
            token = int(np.argmax(last))
            last, ours = step(model, plain, token), step(model, loaded, token)
            difference = max(difference, float(np.abs(last - ours).max() / np.abs(last).max()))
        same = [type(c).__name__ for c in made] == [type(c).__name__ for c in loaded]
        note = "" if same else "  (not the classes that the model makes)"
        kinds = " ".join(sorted(kinds_of(loaded)))
        print(f"{path.name}: {meta['model']}, {kinds}, {len(ids)} tokens, difference {difference:.1e}{note}")
        packed = any(isinstance(c, C.QuantizedKVCache) for c in loaded)
        worst = max(worst, difference / 200 if packed else difference)  # packed later, or at once
        seen |= kinds_of(loaded)
    print("kinds:", " ".join(sorted(seen)))
    assert worst < 1e-4, worst


def lru():
    """What mlx-lm's store holds while entries come: lru.json."""

    class Entry:
        nbytes = 1
        is_trimmable = staticmethod(lambda: False)

    state, kinds, store, steps = np.random.RandomState(5), ["assistant", "user", "system"], C.LRUPromptCache(8), []
    there = lambda: [t[0] for q in store._lru._lrus.values() for _, t in q]
    for i in range(40):
        kind = kinds[state.choice(3, p=[0.5, 0.3, 0.2])]
        store.insert_cache("m", [i, i, i], [Entry()], cache_type=kind)
        steps.append({"kind": kind, "there": sorted(there())})
    save_json(FOLDER / "lru.json", {"max_size": 8, "steps": steps, "last": sorted(there())})


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    if "read" in sys.argv:
        return read(sys.argv[-1])
    if OLDER:
        for name in OLDER_KINDS[PREFIX]:
            architecture(name)
        if PREFIX == "v31_":
            row("v31_kv", BASE, lambda i: C.KVCache())
            row("v31_rotating_keep4", BASE, lambda i: C.RotatingKVCache(max_size=8, keep=4))
            row("v31_quantized", WIDE, lambda i: C.QuantizedKVCache(group_size=32, bits=8))
        return
    lru()
    for name in ARCHITECTURES:
        architecture(name)
    plain = lambda i: C.KVCache()
    row("kv", BASE, plain)
    row("kv_chunked", BASE, plain, prefill=[10, 10, 4], metadata=None, note="no user metadata")
    row("rotating_keep0", BASE, lambda i: C.RotatingKVCache(max_size=8, keep=0))
    row("rotating_keep4", BASE, lambda i: C.RotatingKVCache(max_size=8, keep=4))
    row(
        "rotating_keep4_chunked",
        BASE,
        lambda i: C.RotatingKVCache(max_size=8, keep=4),
        prefill=[10, 10, 4],
        note="a chunk sees itself and the last max_size - 1 kept keys: not equal to one call",
    )
    row("rotating_partial", BASE, lambda i: C.RotatingKVCache(max_size=64, keep=4), note="not full")
    row(
        "sliding",
        WINDOW,
        lambda i: C.KVCache() if i else C.RotatingKVCache(max_size=8),
        note="what llama's make_cache gives for layer_types",
    )
    row("quantized", WIDE, lambda i: C.QuantizedKVCache(group_size=32, bits=8))
    hand_made()


if __name__ == "__main__":
    main()
