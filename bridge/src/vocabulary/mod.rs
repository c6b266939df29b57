//! Tokenizers from what GGUF files and sentencepiece models say about a vocabulary.
//!
//! Models are built directly, the small parts around them from the JSON that tokenizer.json would
//! hold, since that is how their settings are documented.
mod bpe;
mod pre_tokenizer;
pub mod sentencepiece;
mod unigram;
mod word_piece;

use crate::ffi::VocabSpec;
use crate::tokenizer::plain;
use anyhow::{bail, ensure, Result};
use serde_json::{from_value, json, Map, Value};
use tokenizers::models::bpe::Vocab;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

/// sentencepiece's numbers, which GGUF took over.
mod kind {
    pub const NORMAL: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const CONTROL: i32 = 3;
    pub const USER_DEFINED: i32 = 4;
    pub const BYTE: i32 = 6;
}

/// The parts of a tokenizer; all but the model as tokenizer.json spells them.
struct Parts {
    model: ModelWrapper,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    decoder: Value,
}

/// Ids and switches after the model's defaults were filled in; -1: there is none.
pub struct SpecialIds {
    pub bos: i64,
    pub eos: i64,
    pub unk: i64,
    head: i64,
    tail: i64,
    add_head: bool,
    add_tail: bool,
}

pub fn build(spec: &VocabSpec) -> Result<(Tokenizer, SpecialIds)> {
    check(spec)?;
    let ids = special_ids(spec);
    let parts = match spec.model.as_str() {
        "gpt2" => bpe::byte_level(spec)?,
        "gemma4" => bpe::gemma4(spec, &ids)?,
        "llama" => bpe::sentencepiece(spec, &ids)?,
        "t5" => unigram::parts(spec, &ids)?,
        "bert" => word_piece::parts(spec, &ids)?,
        other => bail!(
            "tokenizer model '{other}' is not known; expected gpt2, gemma4, llama, t5 or bert"
        ),
    };
    let mut tokenizer = assemble(parts)?;
    if let Some(template) = post_processor(spec, &ids) {
        tokenizer.with_post_processor(Some(from_value::<tokenizers::PostProcessorWrapper>(
            template,
        )?));
    }
    add_special_tokens(&mut tokenizer, spec)?;
    Ok((tokenizer, ids))
}

fn check(spec: &VocabSpec) -> Result<()> {
    let count = spec.tokens.len();
    ensure!(count > 0, "the vocabulary has no tokens");
    ensure!(
        u32::try_from(count).is_ok(),
        "the vocabulary has {count} tokens; expected 32-bit ids"
    );
    for (name, len) in [
        ("scores", spec.scores.len()),
        ("token types", spec.kinds.len()),
    ] {
        ensure!(
            len == 0 || len == count,
            "{len} {name} for {count} tokens; expected one for each"
        );
    }
    for (name, id) in [("bos", spec.bos), ("eos", spec.eos), ("unknown", spec.unk)] {
        ensure!(
            id < count as i64,
            "{name} token id {id} is beyond the vocabulary of {count}"
        );
    }
    Ok(())
}

/// The defaults are those of llama.cpp, for files that leave the keys out.
fn special_ids(spec: &VocabSpec) -> SpecialIds {
    let (bos, eos, unk, add_head, add_tail) = match spec.model.as_str() {
        "llama" => (1, 2, 0, true, false),
        "t5" => (-1, 1, 2, false, true),
        "bert" => (-1, -1, 100, true, true),
        "gpt2" => (-1, -1, -1, pre_tokenizer::adds_bos(&spec.pre), false),
        _ => (-1, -1, -1, false, false),
    };
    let or = |id: i64, default: i64| if id >= 0 { id } else { default };
    let switch = |value: i8, default: bool| if value >= 0 { value != 0 } else { default };
    let (bos, eos) = (or(spec.bos, bos), or(spec.eos, eos));
    let (head, tail) = match spec.model.as_str() {
        "bert" => (or(spec.cls, or(bos, 101)), or(spec.sep, or(eos, 102))),
        _ => (bos, eos),
    };
    SpecialIds {
        bos,
        eos,
        unk: or(spec.unk, unk),
        head,
        tail,
        add_head: switch(spec.add_bos, add_head),
        add_tail: switch(spec.add_eos, add_tail),
    }
}

fn assemble(parts: Parts) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(parts.model);
    if let Some(value) = parts.normalizer {
        let normalizer = from_value::<tokenizers::NormalizerWrapper>(value)?;
        tokenizer.with_normalizer(Some(normalizer)).map_err(plain)?;
    }
    if let Some(value) = parts.pre_tokenizer {
        tokenizer.with_pre_tokenizer(Some(from_value::<tokenizers::PreTokenizerWrapper>(value)?));
    }
    tokenizer.with_decoder(Some(from_value::<tokenizers::DecoderWrapper>(
        parts.decoder,
    )?));
    Ok(tokenizer)
}

/// `head` text `tail`, as far as they are to be added.
fn post_processor(spec: &VocabSpec, ids: &SpecialIds) -> Option<Value> {
    let head = ids.add_head.then(|| spelling(spec, ids.head)).flatten();
    let tail = ids.add_tail.then(|| spelling(spec, ids.tail)).flatten();
    if head.is_none() && tail.is_none() {
        return None;
    }
    let token =
        |name: &str, type_id: u32| json!({"SpecialToken": {"id": name, "type_id": type_id}});
    let text = |part: &str, type_id: u32| json!({"Sequence": {"id": part, "type_id": type_id}});
    let mut single = vec![];
    single.extend(head.map(|name| token(name, 0)));
    single.push(text("A", 0));
    single.extend(tail.map(|name| token(name, 0)));
    let mut pair = single.clone();
    // BERT opens a pair only once.
    pair.extend(
        head.filter(|_| spec.model != "bert")
            .map(|name| token(name, 1)),
    );
    pair.push(text("B", 1));
    pair.extend(tail.map(|name| token(name, 1)));
    let mut specials = Map::new();
    for (name, id) in [(head, ids.head), (tail, ids.tail)] {
        if let Some(name) = name {
            specials.insert(
                name.into(),
                json!({"id": name, "ids": [id], "tokens": [name]}),
            );
        }
    }
    Some(json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": specials,
    }))
}

/// In the order of ids, so that the ids already in the vocabulary are kept.
fn add_special_tokens(tokenizer: &mut Tokenizer, spec: &VocabSpec) -> Result<()> {
    let mut added = vec![];
    for (i, token) in spec.tokens.iter().enumerate() {
        let special = match kind_of(spec, i) {
            kind::CONTROL => true,
            kind::USER_DEFINED => false,
            kind::UNKNOWN if spec.model != "bert" => true,
            _ => continue,
        };
        added.push(AddedToken::from(token.clone(), special).normalized(false));
    }
    tokenizer.add_tokens(added).map_err(plain)?;
    Ok(())
}

fn kind_of(spec: &VocabSpec, index: usize) -> i32 {
    spec.kinds.get(index).copied().unwrap_or(kind::NORMAL)
}

fn spelling(spec: &VocabSpec, id: i64) -> Option<&str> {
    let index = usize::try_from(id).ok()?;
    spec.tokens.get(index).map(String::as_str)
}

/// Token to id.
fn vocab(spec: &VocabSpec) -> Vocab {
    let ids = 0u32..;
    spec.tokens.iter().cloned().zip(ids).collect()
}

fn add_space_prefix(spec: &VocabSpec) -> bool {
    spec.add_space_prefix != 0
}
