//! `tokenizer.ggml.pre` to a pre-tokenizer.  The names are llama.cpp's; the expressions are those of
//! the models' own tokenizer.json files.
use anyhow::{bail, ensure, Result};
use serde_json::{json, Value};

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const QWEN35: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
const DEEPSEEK3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

pub struct PreTokenizer {
    pub json: Value,
    /// A word that is a token as a whole is not taken apart by merges.
    pub ignore_merges: bool,
    /// GGUF does not say it, but these models normalize to NFC.
    pub nfc: bool,
}

/// An unknown name is an error: a wrong split gives wrong ids without a sign.
pub fn by_name(name: &str) -> Result<PreTokenizer> {
    ensure!(
        !name.is_empty(),
        "no pre-tokenizer is named (tokenizer.ggml.pre); expected a name, as files since 2024 have it"
    );
    let Some(family) = family(name) else {
        bail!("pre-tokenizer '{name}' (tokenizer.ggml.pre) is not known");
    };
    Ok(PreTokenizer {
        json: family.json(),
        ignore_merges: matches!(family, Family::Llama3 | Family::Tekken) || name.starts_with("glm"),
        nfc: matches!(name, "qwen2" | "deepseek-r1-qwen"),
    })
}

/// Whether the begin-of-sequence token is added when the file does not say.
pub fn adds_bos(name: &str) -> bool {
    matches!(family(name), Some(Family::Llama3 | Family::Tekken))
}

#[derive(Clone, Copy)]
enum Family {
    Default,
    Gpt2,
    Digits,
    Llama3,
    Llama3Regex,
    Qwen2,
    Qwen35,
    Tekken,
    Gpt4o,
    Deepseek3,
    DeepseekCoder,
    Falcon,
}

#[rustfmt::skip]
fn family(name: &str) -> Option<Family> {
    Some(match name {
        "default" => Family::Default,
        "gpt-2" | "mpt" | "olmo" | "jais" | "phi-2" | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es"
        | "jina-v2-de" | "jina-v2-code" | "roberta-bpe" | "gigachat" | "a.x-4.0" | "mellum" | "modern-bert"
        | "trillion" | "granite-docling" | "exaone4" => Family::Gpt2,
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => Family::Digits,
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0" | "lfm2"
        | "jina-v5-nano" => Family::Llama3,
        "dbrx" | "smaug-bpe" | "chatglm-bpe" | "glm4" | "glm5" => Family::Llama3Regex,
        "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" | "kormo" | "grok-2" | "f2llmv2"
        | "solar-open" => Family::Qwen2,
        "qwen35" => Family::Qwen35,
        "tekken" => Family::Tekken,
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => Family::Gpt4o,
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => Family::Deepseek3,
        "deepseek-coder" => Family::DeepseekCoder,
        "falcon" => Family::Falcon,
        _ => return None,
    })
}

impl Family {
    fn json(self) -> Value {
        match self {
            Family::Default => sequence(vec![
                split(r"[\p{P}\$\+<=>\^~\|]+"),
                split(GPT2),
                split(r"\p{N}+"),
                split("[0-9][0-9][0-9]"),
                byte_level(false),
            ]),
            Family::Gpt2 => byte_level(true),
            Family::Digits => sequence(vec![digits(true), byte_level(true)]),
            Family::Llama3 | Family::Llama3Regex => by_regex(LLAMA3),
            Family::Qwen2 => by_regex(QWEN2),
            Family::Qwen35 => by_regex(QWEN35),
            Family::Tekken => by_regex(TEKKEN),
            Family::Gpt4o => by_regex(GPT4O),
            Family::Deepseek3 => sequence(vec![
                split(r"\p{N}{1,3}"),
                split("[一-龥\u{3040}-ゟ゠-ヿ]+"),
                split(DEEPSEEK3),
                byte_level(false),
            ]),
            Family::DeepseekCoder => sequence(vec![
                split(r"[\r\n]"),
                split(r"\s?\p{L}+"),
                split(r"\s?\p{P}+"),
                split("[一-龥ࠀ-一가-\u{d7ff}]+"),
                digits(true),
                byte_level(false),
            ]),
            Family::Falcon => sequence(vec![
                json!({"type": "Punctuation", "behavior": "Contiguous"}),
                byte_level(true),
                digits(false),
                split("[0-9][0-9][0-9]"),
            ]),
        }
    }
}

fn by_regex(regex: &str) -> Value {
    sequence(vec![split(regex), byte_level(false)])
}

fn sequence(parts: Vec<Value>) -> Value {
    json!({"type": "Sequence", "pretokenizers": parts})
}

fn split(regex: &str) -> Value {
    json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
}

fn digits(individual: bool) -> Value {
    json!({"type": "Digits", "individual_digits": individual})
}

/// Also the decoder of byte-level vocabularies.
pub fn byte_level(use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel",
        "add_prefix_space": false,
        "trim_offsets": true,
        "use_regex": use_regex,
    })
}
