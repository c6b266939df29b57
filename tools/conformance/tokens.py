"""Tokenizers: ours against Python's tokenizers, sentencepiece and llama.cpp's own expectations."""

from pathlib import Path

import sentencepiece
from gguf import GGUFReader
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers.decoders import DecodeStream
from tokenizers.implementations import BertWordPieceTokenizer

UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4

# llama.cpp has expectations of these. deepseek-llm's pre-tokenizer is not known here, which must be said.
EXPECTED = ["bert-bge", "command-r", "deepseek-coder", "falcon", "gemma-4", "gpt-2", "llama-bpe", "llama-spm", "mpt",
            "phi-3", "qwen2", "qwen35", "refact", "starcoder"]  # fmt: skip
REFUSED = {"deepseek-llm": "pre-tokenizer 'deepseek-llm'"}
NPM = ["llama3_1", "qwen3", "gptoss", "deepseek_v3", "llama2", "gemma3"]


class Row:
    """One line of the table; counts of texts that differ, by what differs."""

    def __init__(self, name, reference, texts):
        self.name, self.reference, self.texts = name, reference, texts
        self.tokens, self.differences, self.example = 0, {}, None

    def expect(self, what, text, ours, theirs):
        if ours == theirs:
            return
        self.differences[what] = self.differences.get(what, 0) + 1
        if self.example is None:
            self.example = f"{what} of {text[:60]!r}: ours {str(ours)[:120]}, theirs {str(theirs)[:120]}"


class Vocabulary:
    """What the metadata of a GGUF file says."""

    def __init__(self, path):
        fields = GGUFReader(path).fields
        self.get = lambda key: fields[f"tokenizer.ggml.{key}"].contents() if f"tokenizer.ggml.{key}" in fields else None
        self.tokens, self.kinds = self.get("tokens"), self.get("token_type")


def byte_starts(text):
    starts = [0]
    for character in text:
        starts.append(starts[-1] + len(character.encode("utf-8")))
    return starts


def streamed(tokenizer, ids):
    """What Python's stream gives out, and whether it failed, as it does on some ill-formed bytes."""
    stream, pieces = DecodeStream(skip_special_tokens=False), []
    try:
        for id in ids:
            pieces.append(stream.step(tokenizer, id) or "")
    except Exception:
        return "".join(pieces), True
    return "".join(pieces), False


def against_tokenizers(program, raws, name, path, tokenizer, reference="tokenizers"):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    row = Row(name, reference, len(raws))
    for raw, ours in zip(raws, program.tokenize(path, raws)):
        text = raw.decode("utf-8", "replace")
        theirs = tokenizer.encode(text)
        starts = byte_starts(text)
        decoded = tokenizer.decode(theirs.ids, skip_special_tokens=False)
        row.tokens += len(theirs.ids)
        row.expect("ids", text, ours["ids"], theirs.ids)
        row.expect("ids", text, ours["fast"], theirs.ids)
        row.expect("plain ids", text, ours["plain"], tokenizer.encode(text, add_special_tokens=False).ids)
        row.expect("offsets", text, ours["offsets"], [starts[at] for pair in theirs.offsets for at in pair])
        row.expect("decode", text, ours["decoded"], decoded)
        row.expect("decode without special", text, ours["skipped"], tokenizer.decode(theirs.ids))
        row.expect("stream", text, ours["streamed"], decoded)
        pieces, failed = streamed(tokenizer, theirs.ids)
        if not failed:  # theirs has no end: an unfinished character never comes out
            row.expect("stream", text, ours["streamed"][: len(pieces)], pieces)
    return row


def against_ids(program, raws, name, path, reference, encode, skip=()):
    """Ids without special tokens only; texts that hold one of `skip` are left out."""
    raws = [raw for raw in raws if not any(s in raw.decode("utf-8", "replace") for s in skip)]
    row = Row(name, reference, len(raws))
    for raw, ours in zip(raws, program.tokenize(path, raws)):
        text = raw.decode("utf-8", "replace")
        theirs = encode(text)
        row.tokens += len(theirs)
        row.expect("plain ids", text, ours["plain"], theirs)
    return row


def from_npm(package):
    return Tokenizer.from_file(str(package / "models" / "tokenizer.json"))


def add_specials(tokenizer, vocabulary):
    for token, kind in zip(vocabulary.tokens, vocabulary.kinds):
        if kind in (UNKNOWN, CONTROL):
            tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == USER_DEFINED:
            tokenizer.add_tokens([AddedToken(token, special=False, normalized=False)])


def bert(path):
    def spelling(token, kind):
        if token.startswith("▁"):
            return token[1:]
        bracketed = len(token) > 2 and token[0] == "[" and token[-1] == "]"
        return token if kind == CONTROL or bracketed else "##" + token

    vocabulary = Vocabulary(path)
    ids = {spelling(t, k): i for i, (t, k) in enumerate(zip(vocabulary.tokens, vocabulary.kinds))}
    return BertWordPieceTokenizer(vocab=ids, lowercase=True)._tokenizer


def unigram(tokens, scores, unknown, charsmap):
    tokenizer = Tokenizer(models.Unigram(list(zip(tokens, map(float, scores))), unknown, False))
    steps = [normalizers.Precompiled(charsmap)] if charsmap else []
    steps += [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return tokenizer


def xlm_roberta(path):
    vocabulary = Vocabulary(path)
    charsmap = bytes(vocabulary.get("precompiled_charsmap"))
    tokenizer = unigram(vocabulary.tokens, vocabulary.get("scores"), 3, charsmap)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    add_specials(tokenizer, vocabulary)
    return tokenizer


def smollm(path):
    vocabulary = Vocabulary(path)
    ids = {token: id for id, token in enumerate(vocabulary.tokens)}
    merges = [tuple(merge.split(" ")) for merge in vocabulary.get("merges")]
    tokenizer = Tokenizer(models.BPE(ids, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    add_specials(tokenizer, vocabulary)
    return tokenizer


def model_of_llama2(path, out):
    """GGUF's pieces put back into a sentencepiece model."""
    vocabulary = Vocabulary(path)
    model = sentencepiece_model_pb2.ModelProto()
    for token, score, kind in zip(vocabulary.tokens, vocabulary.get("scores"), vocabulary.kinds):
        model.pieces.add(piece=token, score=score, type=kind)
    model.trainer_spec.model_type = 2
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.vocab_size = len(vocabulary.tokens)
    model.trainer_spec.pad_id = -1
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.remove_extra_whitespaces = False
    Path(out).write_bytes(model.SerializeToString())
    return out


def trained_model(raws, out, kind, **options):
    texts = [raw.decode("utf-8", "replace") for raw in raws]
    texts = [text for text in texts if "\0" not in text and "\n" not in text and 0 < len(text) < 2000]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 3), model_prefix=str(out.with_suffix("")), model_type=kind, vocab_size=4000,
        character_coverage=0.9995, minloglevel=3, num_threads=1, hard_vocab_limit=False, **options,
    )  # fmt: skip
    return out


def unigram_of_model(path):
    """What Hugging Face makes of such a model; it differs from sentencepiece in some white space."""
    model = sentencepiece_model_pb2.ModelProto.FromString(Path(path).read_bytes())
    tokens, scores = [p.piece for p in model.pieces], [p.score for p in model.pieces]
    tokenizer = unigram(tokens, scores, 0, model.normalizer_spec.precompiled_charsmap)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[:3]])
    return tokenizer


def llama_cpp_rows(program, folder):
    for name in EXPECTED:
        path = folder / f"ggml-vocab-{name}.gguf"
        texts = Path(f"{path}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
        expected = [[int(id) for id in line.split()] for line in Path(f"{path}.out").read_text().split("\n")]
        ids = iter(expected)
        raws = [text.encode() for text in texts]
        yield against_ids(program, raws, f"GGUF {name}", path, "llama.cpp", lambda _: next(ids))
    for name, reason in REFUSED.items():
        row = Row(f"GGUF {name}", "is refused by name", 1)
        try:
            program.tokenize(folder / f"ggml-vocab-{name}.gguf", [b""])
            row.expect("error", name, "none", reason)
        except RuntimeError as error:
            row.expect("error", name, reason in str(error) or str(error), True)
        yield row


def rows(program, raws, packages, default_model, work):
    for name in NPM:
        package = packages / f"tokenizer-{name}"
        yield against_tokenizers(program, raws, name, package / "models" / "tokenizer.json", from_npm(package))
    gguf = packages / "llama.cpp" / "models"
    vocab = lambda name: gguf / f"ggml-vocab-{name}.gguf"  # noqa: E731
    yield against_tokenizers(program, raws, "GGUF bert-bge (WordPiece)", vocab("bert-bge"), bert(vocab("bert-bge")))
    path = vocab("nomic-bert-moe")
    yield against_tokenizers(program, raws, "GGUF nomic-bert-moe (Unigram)", path, xlm_roberta(path))
    yield against_tokenizers(program, raws, "GGUF SmolLM2 (default model)", default_model, smollm(default_model))
    llama3 = from_npm(packages / "tokenizer-llama3_1")
    yield against_tokenizers(program, raws, "GGUF llama-bpe", vocab("llama-bpe"), llama3, "Llama 3.1's tokenizer.json")
    qwen3 = from_npm(packages / "tokenizer-qwen3")
    plain = lambda text: qwen3.encode(text, add_special_tokens=False).ids  # noqa: E731
    known = set(Vocabulary(vocab("qwen2")).tokens)
    added = [t.content for t in qwen3.get_added_tokens_decoder().values() if t.content not in known]
    yield against_ids(program, raws, "GGUF qwen2", vocab("qwen2"), "Qwen3's tokenizer.json", plain, added)
    yield from sentencepiece_rows(program, raws, vocab("llama-spm"), work)
    yield from llama_cpp_rows(program, gguf)


def sentencepiece_rows(program, raws, llama_spm, work):
    special = ("<s>", "</s>", "<unk>")  # sentencepiece does not know them in text
    path = model_of_llama2(llama_spm, work / "llama2.model")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    yield against_ids(program, raws, "tokenizer.model of Llama 2", path, "sentencepiece", processor.encode, special)
    yield against_ids(program, raws, "GGUF llama-spm", llama_spm, "sentencepiece", processor.encode, special)
    path = trained_model(raws, work / "bpe.model", "bpe", byte_fallback=True, normalization_rule_name="identity",
                         remove_extra_whitespaces=False)  # fmt: skip
    trained = sentencepiece.SentencePieceProcessor(model_file=str(path))
    yield against_ids(program, raws, "tokenizer.model, bpe", path, "sentencepiece", trained.encode, special)
    path = trained_model(raws, work / "unigram.model", "unigram", normalization_rule_name="nmt_nfkc")
    pipeline = unigram_of_model(path)
    plain = lambda text: pipeline.encode(text, add_special_tokens=False).ids  # noqa: E731
    yield against_ids(program, raws, "tokenizer.model, unigram", path, "tokenizers", plain)
