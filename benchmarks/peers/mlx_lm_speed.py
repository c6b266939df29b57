"""Speed of mlx-lm on a directory, as one JSON object; weights are widened to float32, its fastest type on a CPU.

    python benchmarks/peers/mlx_lm_speed.py DIR PROMPT GENERATE
"""

import json
import sys
import time

import mlx.core as mx
from mlx.utils import tree_map
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import load_model
from pathlib import Path


def main():
    folder, prompt, generate = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    mx.set_default_device(mx.cpu)
    start = time.perf_counter()
    model, _ = load_model(folder)
    widen = lambda w: w.astype(mx.float32) if mx.issubdtype(w.dtype, mx.floating) else w
    model.update(tree_map(widen, model.parameters()))
    mx.eval(model.parameters())
    load = time.perf_counter() - start

    cache = make_prompt_cache(model)
    ids = mx.arange(prompt)[None] + 100

    def step(tokens):
        mx.eval(model(tokens, cache=cache)[:, -1], [c.state for c in cache])

    step(ids[:, :1])  # warm
    cache = make_prompt_cache(model)
    start = time.perf_counter()
    step(ids)
    prefill = prompt / (time.perf_counter() - start)
    cache = make_prompt_cache(model)
    step(ids[:, :1])
    start = time.perf_counter()
    for _ in range(generate):
        step(ids[:, :1])
    decode = generate / (time.perf_counter() - start)
    print(json.dumps({"load_s": load, f"pp{prompt}": prefill, f"tg{generate}": decode}))


if __name__ == "__main__":
    main()
