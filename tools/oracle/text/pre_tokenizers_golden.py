"""What Python's tokenizers make of the pre-tokenizers that GGUF files name.

Writes tests/data/text/pre.json: one vocabulary whose merges cross all borders between words, so that ids show where
a pre-tokenizer cut, and for each family its names and the ids of a few texts.  The expressions are those of the
models' tokenizer.json files, as llama.cpp quotes them ("original regex") at the names in its llama-vocab.cpp.
"""

import json
from importlib import metadata
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from corpus import EDGES, SAMPLES

DATA = Path(__file__).resolve().parents[3] / "tests" / "data" / "text"

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
HEAD = r"[^\r\n\p{L}\p{N}]?"
SLASH_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

# Splits in their order.  bos: llama.cpp adds the token when the file does not say.
FAMILIES = {
    "gpt-2": (["gpt-2", "phi-2", "mpt", "olmo"], [GPT2], {}),
    "smollm": (["smollm", "starcoder", "refact", "command-r"], [r"\p{N}", GPT2], {}),
    "llama3": (["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
               [SUFFIX + "|" + HEAD + r"\p{L}+|\p{N}{1,3}" + TAIL], {"bos": True, "ignore_merges": True}),
    "dbrx": (["dbrx", "smaug-bpe"], [SUFFIX + "|" + HEAD + r"\p{L}+|\p{N}{1,3}" + TAIL], {}),
    "qwen2": (["qwen2", "deepseek-r1-qwen"], [SUFFIX + "|" + HEAD + r"\p{L}+|\p{N}" + TAIL], {"nfc": True}),
    "stablelm2": (["stablelm2", "megrez", "hunyuan"], [SUFFIX + "|" + HEAD + r"\p{L}+|\p{N}" + TAIL], {}),
    "qwen35": (["qwen35"], [SUFFIX + "|" + HEAD + r"[\p{L}\p{M}]+|\p{N}"
                            r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"], {}),
    "tekken": (["tekken"], [f"{HEAD}{UPPER}*{LOWER}+|{HEAD}{UPPER}+{LOWER}*|" + r"\p{N}" + SLASH_TAIL],
               {"bos": True, "ignore_merges": True}),
    "gpt-4o": (["gpt-4o", "llama4"], [f"{HEAD}{UPPER}*{LOWER}+{SUFFIX}?|{HEAD}{UPPER}+{LOWER}*{SUFFIX}?|"
                                      + r"\p{N}{1,3}" + SLASH_TAIL], {}),
    "default": (["default"], [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"], {}),
}  # fmt: skip


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, show_progress=False, max_token_length=6)
    tokenizer.train_from_iterator(SAMPLES * 3 + EDGES, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    for word in ("world", "Ġworld", "hello", "ĠHello", "Ġdoesn", "wörld"):  # no merges lead there
        model["vocab"].setdefault(word, len(model["vocab"]))
    return model


def encode(model, splits, texts, ignore_merges=False, nfc=False, bos=False):
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(model["vocab"], merges, ignore_merges=ignore_merges))
    steps = [pre_tokenizers.Split(Regex(split), "isolated") for split in splits]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    return [tokenizer.encode(text).ids for text in texts]


def main():
    model = train()
    texts = [text for text in SAMPLES + EDGES if len(text) < 100]
    families = []
    for names, splits, options in FAMILIES.values():
        families.append({"names": names, "bos": options.get("bos", False), "ids": encode(model, splits, texts, **options)})
    out = {
        "versions": {"tokenizers": metadata.version("tokenizers")},
        "tokens": sorted(model["vocab"], key=model["vocab"].get),
        "merges": [" ".join(pair) for pair in model["merges"]],
        "texts": [text.encode().hex() for text in texts],
        "families": families,
    }
    text = json.dumps(out, ensure_ascii=True, separators=(",", ":"))
    (DATA / "pre.json").write_text(text + "\n", encoding="utf-8")
    distinct = len({json.dumps(family["ids"]) for family in families})
    print(len(text), "bytes,", distinct, "different of", len(families))


if __name__ == "__main__":
    main()
