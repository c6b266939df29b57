"""Prompt-cache files as mlx-lm writes them: tests/data/cache/<name>.safetensors.

Beside each stands <name>_expected.safetensors: the model's configuration, the ids the cache has
consumed, and the logits of three further steps from the loaded file. README.md, "Caches", has the
layout.

    python tools/oracle/caches.py
"""

from common import DATA, WEIGHTS_RULE, check_size, command, save_golden, seeded, value, versions
from golden import Mlx, dense_weights, prompt_ids
from rows.llama import BASE as LLAMA
from rows.row import Row

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten
from mlx_lm.models import cache as C

FOLDER = DATA / "cache"
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
            "versions": versions("mlx", "mlx-lm", "numpy"),
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
    plain = lambda tree: [
        (k, v.tolist() if isinstance(v, mx.array) else v) for k, v in tree_flatten(tree)
    ]
    for saved, loaded in zip(caches, C.load_prompt_cache(str(path))):
        assert type(saved) is type(loaded) and plain(saved.state) == plain(loaded.state), saved


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
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
