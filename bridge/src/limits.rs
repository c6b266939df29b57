//! What a tokenizer.json may not ask for, looked at before any of it is built: ids and tokens of
//! absurd size, and steps that blow a text up, each of which multiplies what came before it.
//!
//! What stays: a regular expression with look-around may take a million steps for each match before
//! it is given up, so a hostile one makes encoding slow in proportion to the text.
use anyhow::{bail, ensure, Result};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// Far above the largest vocabularies (262,144) and what a model's table of tokens can hold.
const MAX_ID: u64 = 1 << 24;
const MAX_TOKEN_BYTES: usize = 1 << 20;

/// How many times its size a text may have after all steps.  In use: 3 for "▁" in place of spaces.
const MAX_GROWTH: f64 = 4096.0;

/// Special tokens that are added to a text.
const MAX_ADDED: usize = 1000;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type", default)]
    kind: Value,
    vocab: Option<Vocabulary>,
}

/// Only what is wrong with it.
struct Vocabulary {
    complaint: Option<String>,
}

pub fn check(json: &[u8]) -> Result<()> {
    let file: File = serde_json::from_slice(json)?;
    let Some(model) = file.model else {
        bail!("no model; expected an object with vocab");
    };
    if let Some(kind) = model.kind.as_str() {
        let known = ["BPE", "Unigram", "WordLevel", "WordPiece"];
        ensure!(
            known.contains(&kind),
            "model.type is {kind:?}; expected BPE, Unigram, WordLevel or WordPiece"
        );
    }
    if let Some(complaint) = model.vocab.and_then(|vocab| vocab.complaint) {
        bail!("model.vocab: {complaint}");
    }
    let before = growth(&file.normalizer) * growth(&file.pre_tokenizer);
    for (name, growth) in [("normalizer", before), ("decoder", growth(&file.decoder))] {
        ensure!(
            growth <= MAX_GROWTH,
            "{name}: can make a text {growth:.0} times as long; expected at most {MAX_GROWTH:.0}"
        );
    }
    let added = added_tokens(&file.post_processor);
    ensure!(
        added <= MAX_ADDED,
        "post_processor: adds {added} tokens to a text; expected at most {MAX_ADDED}"
    );
    Ok(())
}

/// By how much a step can lengthen a text, at most.
fn growth(step: &Value) -> f64 {
    let bytes = |key: &str| {
        step[key]
            .as_str()
            .map_or(1.0, |text| text.len().max(1) as f64)
    };
    match step["type"].as_str() {
        Some("Sequence") => ["normalizers", "pretokenizers", "decoders"]
            .iter()
            .filter_map(|key| step[key].as_array())
            .flatten()
            .map(growth)
            .product(),
        Some("Replace") => {
            let found = step["pattern"]["String"]
                .as_str()
                .map_or(1, |text| text.len().max(1));
            (bytes("content") / found as f64).max(1.0)
        }
        Some("Prepend") => 1.0 + bytes("prepend"), // once for each piece between special tokens
        Some("Precompiled") => longest_replacement(step),
        Some("ByteLevel") => 2.0,
        _ => 1.0,
    }
}

/// In a precompiled map the replacements stand behind a trie, with a zero after each.
fn longest_replacement(step: &Value) -> f64 {
    let map = step["precompiled_charsmap"].as_str().unwrap_or("");
    let bytes = from_base64(map);
    let trie = bytes
        .first_chunk()
        .map_or(0, |size| u32::from_le_bytes(*size) as usize);
    let texts = bytes.get(4 + trie..).unwrap_or(&bytes);
    let longest = texts.split(|&byte| byte == 0).map(<[u8]>::len).max();
    longest.unwrap_or(0).max(1) as f64
}

/// Characters that are no digits of base64 count as nothing: the crate itself will refuse them.
fn from_base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut out) = (0u32, 0, Vec::with_capacity(text.len() / 4 * 3));
    for value in text.bytes().filter_map(digit) {
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

/// The text itself counts too where it stands more than once.
fn added_tokens(step: &Value) -> usize {
    let steps = step["processors"].as_array().map_or(&[][..], Vec::as_slice);
    let pieces = step["single"].as_array().map_or(&[][..], Vec::as_slice);
    let ids = |name: &Value| {
        let name = name.as_str().unwrap_or("");
        step["special_tokens"][name]["ids"]
            .as_array()
            .map_or(1, Vec::len)
    };
    let here: usize = pieces
        .iter()
        .map(|piece| match piece["SpecialToken"].as_object() {
            Some(token) => token.get("id").map_or(1, ids),
            None => 1,
        })
        .sum();
    here + steps.iter().map(added_tokens).sum::<usize>()
}

impl<'de> Deserialize<'de> for Vocabulary {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(VocabularyVisitor)
    }
}

/// `{token: id, ...}`, or `[[token, score], ...]` where the ids are the places.
struct VocabularyVisitor;

impl<'de> Visitor<'de> for VocabularyVisitor {
    type Value = Vocabulary;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a vocabulary: tokens with ids or scores")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vocabulary, A::Error> {
        let mut complaint = None;
        let mut seen = HashSet::new();
        while let Some((token, id)) = map.next_entry::<Text, Value>()? {
            let wrong = wrong_token(&token.0).or_else(|| match id.as_u64() {
                None => Some(format!(
                    "{:?} has the id {id}; expected a number from 0",
                    token.0
                )),
                Some(id) if id >= MAX_ID => Some(format!(
                    "{:?} has the id {id}; expected one below {MAX_ID}",
                    token.0
                )),
                Some(id) if !seen.insert(id) => Some(format!("two tokens have the id {id}")),
                Some(_) => None,
            });
            complaint = complaint.or(wrong);
        }
        Ok(Vocabulary { complaint })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vocabulary, A::Error> {
        let mut complaint = None;
        while let Some((token, IgnoredAny)) = items.next_element::<(Text, IgnoredAny)>()? {
            complaint = complaint.or_else(|| wrong_token(&token.0));
        }
        Ok(Vocabulary { complaint })
    }
}

fn wrong_token(token: &str) -> Option<String> {
    let length = token.len();
    (length > MAX_TOKEN_BYTES)
        .then(|| format!("a token has {length} bytes; expected at most {MAX_TOKEN_BYTES}"))
}

/// Borrowed from the file where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
