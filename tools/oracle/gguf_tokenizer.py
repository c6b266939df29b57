"""The tokenizer of tiny GGUF files: byte-level BPE with a few merges and a chat template."""

import gguf

WORDS = ["Ġt", "he", "Ġthe", "Ġa", "in", "er", "on", "Ġw", "or", "Ġwor", "ld", "Ġworld", "Ċ Ċ"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_tokens():
    """The 256 characters that stand for bytes in a byte-level BPE, by byte."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = {b: 256 + i for i, b in enumerate(b for b in range(256) if b not in keep)}
    return [chr(extra.get(b, b)) for b in range(256)]


def vocabulary():
    tokens = SPECIALS + byte_tokens()
    merges = []
    for word in WORDS:
        left, right = word.split(" ") if " " in word else split(word, tokens)
        merges.append(f"{left} {right}")
        tokens.append(left + right)
    while len(tokens) < 288:  # unused ids, as real files pad their vocabulary
        tokens.append(f"<|unused_{len(tokens)}|>")
    types = [gguf.TokenType.NORMAL] * len(tokens)
    for i, t in enumerate(tokens):
        if t in SPECIALS:
            types[i] = gguf.TokenType.CONTROL
        elif t.startswith("<|unused"):
            types[i] = gguf.TokenType.UNUSED
    return tokens, types, merges


def split(word, tokens):
    """The only cut of `word` into two tokens that are there already, longest left first."""
    for cut in range(len(word) - 1, 0, -1):
        if word[:cut] in tokens and word[cut:] in tokens:
            return word[:cut], word[cut:]
    raise ValueError(word)


def add_tokenizer(w, pre):
    tokens, types, merges = vocabulary()
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_pad_token_id(2)
    w.add_unk_token_id(0)
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)
