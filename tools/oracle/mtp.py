"""Heads for further tokens: tests/data/mtp/<architecture>.safetensors.

A head is a model of one layer whose inputs are fc([norm(embedding of the next token), norm(state)])
(vLLM deepseek_mtp.py, qwen3_next_mtp.py, qwen3_5_mtp.py), so transformers' own model of one layer
runs it, given these inputs as embeddings.
"""

from dataclasses import replace

import numpy as np
import torch
from common import DATA, WEIGHTS_RULE, save_golden, seeded, versions
from golden import Transformers, dense_weights, hf_weights, prompt_ids, row_shapes, shapes
from rows import ROWS

import mlx.core as mx

CHAIN = 4
QWEN = {"root": "mtp", "token": "pre_fc_norm_embedding", "state": "pre_fc_norm_hidden", "join": "fc", "norm": "norm", "layer": "layers.0."}
DEEPSEEK = {"root": "model.layers.3", "token": "enorm", "state": "hnorm", "join": "eh_proj", "norm": "shared_head.norm", "layer": ""}
# What makes a model of one layer of the architecture's settings.
ATTENDING = {"num_hidden_layers": 1, "layer_types": ["full_attention"]}
HEADS = {
    "qwen3_next": (QWEN, ATTENDING, {}),
    "qwen3_5": (QWEN, ATTENDING, {}),
    "qwen3_5_moe": (QWEN, ATTENDING, {}),
    "deepseek_v3": (
        DEEPSEEK,
        {"num_hidden_layers": 1, "first_k_dense_replace": 0},
        # Published files repeat what the head shares with the model.
        {"model.layers.3.embed_tokens.weight": (128, 32), "model.layers.3.shared_head.head.weight": (128, 32)},
    ),
}


def head_row(row, names, changes):
    """The head as a row of its own, and its layer's tensors: model name -> checkpoint name."""
    one = replace(row, name="mtp", changes={**row.changes, **changes}, beside={}, disk_name=lambda k: k)
    one.base, one.architecture, one.outer, one.for_mlx_lm = row.base, row.architecture, None, row.for_mlx_lm
    stored = shapes({**one.text_config(), **one.hf_changes}, True, one.hf_type, one.stacked)
    layer = "model.layers.0."
    return one, {
        k: (f"{names['root']}.{names['layer']}{k.removeprefix(layer)}", s) for k, s in stored.items() if k.startswith(layer)
    }


def norm(x, weight, eps, centred):
    x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return x * (1 + weight if centred else weight)


def make(architecture, folder):
    names, changes, repeated = HEADS[architecture]
    row = next(r for r in ROWS if r.architecture == architecture and r.name == "plain")
    one, layer = head_row(row, names, changes)
    root, dim = names["root"], row.text_config()["hidden_size"]
    own = {
        f"{root}.{names['token']}.weight": (dim,),
        f"{root}.{names['state']}.weight": (dim,),
        f"{root}.{names['join']}.weight": (dim, 2 * dim),
        f"{root}.{names['norm']}.weight": (dim,),
    }
    plain_shapes = row_shapes(row)
    beside = {**own, **{name: s for name, s in layer.values()}, **repeated}

    dense = dense_weights(row)
    target = Transformers(row, hf_weights(row, dense))
    hf = hf_weights(row, dense)
    weights = {k: mx.array(seeded(name, s)) for k, (name, s) in layer.items()}
    weights["model.norm.weight"] = mx.array(seeded(f"{root}.{names['norm']}.weight", (dim,)))
    for shared in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[shared] = hf[shared]
    head = Transformers(one, weights)

    w = {k: torch.tensor(np.array(seeded(k, s))) for k, s in own.items()}
    eps, centred = row.text_config()["rms_norm_eps"], architecture.startswith("qwen")
    embed = torch.tensor(np.array(hf["model.embed_tokens.weight"]))

    def inputs(token, state):
        joined = torch.cat(
            [
                norm(embed[token], w[f"{root}.{names['token']}.weight"], eps, centred),
                norm(state, w[f"{root}.{names['state']}.weight"], eps, centred),
            ],
            -1,
        )
        return joined @ w[f"{root}.{names['join']}.weight"].T

    def run_head(x):
        with torch.no_grad():
            h = head.model.model(inputs_embeds=x[None], use_cache=False).last_hidden_state[0]
            return h, head.model.lm_head(h)

    ids = prompt_ids(row.text_config()["vocab_size"])
    with torch.no_grad():
        states = target.model.model(torch.tensor(ids.astype(np.int64))[None], use_cache=False).last_hidden_state[0]
        logits = target.model.lm_head(states)
    following = np.append(ids[1:], int(logits[-1].argmax())).astype(np.int64)
    x = inputs(torch.tensor(following), states)
    h, head_logits = run_head(x)
    chain, chosen = [head_logits[-1]], [int(head_logits[-1].argmax())]
    for _ in range(CHAIN - 1):
        x = torch.cat([x, inputs(torch.tensor(chosen[-1:]), h[-1:])])
        h, further = run_head(x)
        chain.append(further[-1])
        chosen.append(int(further[-1].argmax()))

    tensors = {
        "ids": ids,
        "states": states.numpy(),
        "following": following.astype(np.int32),
        "head_logits": head_logits.numpy(),
        "chain": np.array(chosen, dtype=np.int32),
        "chain_logits": torch.stack(chain).numpy(),
    }
    meta = {
        "config": row.config(),
        "versions": versions(),
        "command": f"python tools/oracle/mtp.py {architecture}",
        "weights_rule": WEIGHTS_RULE,
        "weights_dtype": "float32",
        "weight_shapes": {**plain_shapes, **beside},
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_golden(folder / f"{architecture}.safetensors", tensors, meta)


if __name__ == "__main__":
    import sys

    for architecture in sys.argv[1:] or HEADS:
        make(architecture, DATA / "mtp")
