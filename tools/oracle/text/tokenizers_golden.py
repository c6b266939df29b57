"""Small tokenizers of every kind, trained here, and what Python's libraries make of the corpus.

Writes tests/data/text/<kind>.json (a tokenizer.json), <kind>.model (sentencepiece) and
<kind>.expected.json.  Needs tokenizers and sentencepiece.
"""

import io
import json
import sys
from importlib import metadata
from pathlib import Path

import sentencepiece
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from tokenizers.decoders import DecodeStream

from corpus import TEXTS, TRAINING

DATA = Path(__file__).resolve().parents[3] / "tests" / "data" / "text"
MAX_FILE = 100_000
VERSIONS = {name: metadata.version(name) for name in ("tokenizers", "sentencepiece")}

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def split(regex):
    return pre_tokenizers.Split(Regex(regex), "isolated")


def byte_level(pre, specials, normalizer=None, ignore_merges=False, bos=None):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.add_special_tokens(special_tokens(specials))
    if bos:
        add_bos(tokenizer, bos)
    return tokenizer


def special_tokens(names):
    return [AddedToken(name, special=True, normalized=False) for name in names]


def add_bos(tokenizer, bos):
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos}:1 $B:1",
        special_tokens=[(bos, tokenizer.token_to_id(bos))],
    )


def gpt2():
    pre = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return byte_level(pre, ["<|endoftext|>"])


def smollm():
    pre = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    return byte_level(pre_tokenizers.Sequence(pre), ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def llama3():
    pre = [split(LLAMA3), pre_tokenizers.ByteLevel(False, use_regex=False)]
    specials = ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
    return byte_level(
        pre_tokenizers.Sequence(pre), specials, ignore_merges=True, bos="<|begin_of_text|>"
    )


def qwen2():
    pre = [split(QWEN2), pre_tokenizers.ByteLevel(False, use_regex=False)]
    tokenizer = byte_level(
        pre_tokenizers.Sequence(pre),
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        normalizer=normalizers.NFC(),
    )
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in ("<think>", "</think>")])
    return tokenizer


def byte_fallback_bpe(pre_tokenizer, normalizer, decoder):
    """A BPE over characters, with byte tokens for those that it lacks."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizer
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    specials = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=800, special_tokens=specials, limit_alphabet=100, show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    described = json.loads(tokenizer.to_str())
    # The trainer takes the byte tokens for special; in real files only the names are.
    described["added_tokens"] = [t for t in described["added_tokens"] if t["id"] < 4]
    return Tokenizer.from_str(json.dumps(described))


def gemma():
    tokenizer = byte_fallback_bpe(
        pre_tokenizers.Split(" ", "merged_with_previous"),
        normalizers.Replace(" ", "▁"),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]),
    )
    add_bos(tokenizer, "<bos>")
    return tokenizer


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(
        vocab_size=700, special_tokens=specials, show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    ends = [(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=500, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(TRAINING, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return tokenizer


def byte_offsets(text):
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode("utf-8", "surrogatepass")))
    return starts


def streamed(tokenizer, ids):
    stream = DecodeStream(skip_special_tokens=False)
    return "".join(stream.step(tokenizer, i) or "" for i in ids)


def case(tokenizer, raw):
    text = raw.decode("utf-8", "replace")
    encoding = tokenizer.encode(text)
    starts = byte_offsets(text)
    decoded = tokenizer.decode(encoding.ids, skip_special_tokens=False)
    assert decoded.startswith(streamed(tokenizer, encoding.ids))
    return {
        "hex": raw.hex(),
        "ids": encoding.ids,
        "plain": len(tokenizer.encode(text, add_special_tokens=False).ids),
        "offsets": [starts[x] for pair in encoding.offsets for x in pair],
        "decoded": decoded,
        "skipped": tokenizer.decode(encoding.ids, skip_special_tokens=True),
    }


def write(name, value, **options):
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), **options)
    assert len(text) < MAX_FILE, f"{name}: {len(text)} bytes"
    (DATA / name).write_text(text + "\n", encoding="utf-8")
    print(name, len(text))


def write_tokenizer(name, tokenizer):
    write(f"{name}.json", json.loads(tokenizer.to_str()))
    cases = [case(tokenizer, raw) for raw in TEXTS]
    write(f"{name}.expected.json", {"versions": VERSIONS, "cases": cases})


SPECIAL_SPELLINGS = ("<s>", "</s>", "<unk>")


def kind_of(processor, i):
    """The number that stands in the model file."""
    kinds = [(2, processor.is_unknown), (3, processor.is_control), (6, processor.is_byte)]
    return next((kind for kind, test in kinds if test(i)), 1)


def unigram_pipeline(processor):
    """What Hugging Face makes of a unigram model.  It differs from sentencepiece in some white space."""
    pieces = [(processor.id_to_piece(i), processor.get_score(i)) for i in range(len(processor))]
    tokenizer = Tokenizer(models.Unigram(pieces, processor.unk_id()))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(special_tokens(SPECIAL_SPELLINGS))
    return tokenizer


def sentencepiece_model(name, kind, **options):
    """A model by sentencepiece's own trainer, and the ids of sentencepiece (bpe) or Hugging Face
    (unigram) for all texts but those that spell special tokens, which sentencepiece does not know."""
    buffer = io.BytesIO()
    lines = [t for t in TRAINING if "\n" not in t and "\x00" not in t]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=buffer, model_type=kind, vocab_size=900,
        hard_vocab_limit=False, minloglevel=2, num_threads=1, character_coverage=0.98,
        normalization_rule_name="identity", **options,
    )  # fmt: skip
    model = buffer.getvalue()
    (DATA / f"{name}.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    pipeline = unigram_pipeline(processor)
    cases, same = [], 0
    for raw in TEXTS:
        text = raw.decode("utf-8", "replace")
        if "\x00" in text or any(s in text for s in SPECIAL_SPELLINGS):
            continue
        ids, decoded = processor.encode(text), processor.decode(processor.encode(text))
        if kind == "unigram":
            encoded = pipeline.encode(text).ids
            same += encoded == ids
            ids, decoded = encoded, pipeline.decode(encoded)
        cases.append({"hex": raw.hex(), "ids": ids, "decoded": decoded})
    if kind == "unigram":
        print(f"{name}: {same} of {len(cases)} as sentencepiece")
        assert same > 0.7 * len(cases)
    pieces = [[processor.id_to_piece(i), processor.get_score(i), kind_of(processor, i)]
              for i in range(len(processor))]  # fmt: skip
    write(f"{name}.expected.json", {"versions": VERSIONS, "pieces": pieces, "cases": cases})


def main():
    DATA.mkdir(parents=True, exist_ok=True)
    makers = [gpt2, smollm, llama3, qwen2, gemma, wordpiece, unigram]
    for make in [m for m in makers if len(sys.argv) < 2 or m.__name__ in sys.argv]:
        write_tokenizer(make.__name__, make())
    sentencepiece_model("spm_bpe", "bpe", byte_fallback=True, remove_extra_whitespaces=False)
    sentencepiece_model("spm_unigram", "unigram")


if __name__ == "__main__":
    main()
