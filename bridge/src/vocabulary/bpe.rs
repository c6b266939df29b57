//! Byte-pair vocabularies: byte-level (GPT-2's kind), Gemma 4, and sentencepiece's.
use super::pre_tokenizer;
use super::{add_space_prefix, kind, kind_of, spelling, vocab, Parts, SpecialIds};
use crate::ffi::VocabSpec;
use crate::tokenizer::plain;
use anyhow::{ensure, Result};
use serde_json::json;
use std::cmp::Ordering;
use std::collections::HashMap;
use tokenizers::models::bpe::BPE;

/// Longer tokens take no part in rebuilt merges: the search grows with the square of the length.
const MAX_MERGED_BYTES: usize = 1024;

pub fn byte_level(spec: &VocabSpec) -> Result<Parts> {
    let pre = pre_tokenizer::by_name(&spec.pre)?;
    let bpe = BPE::builder()
        .vocab_and_merges(vocab(spec), stored_merges(spec)?)
        .ignore_merges(pre.ignore_merges);
    Ok(Parts {
        model: bpe.build().map_err(plain)?.into(),
        normalizer: pre.nfc.then(|| json!({"type": "NFC"})),
        pre_tokenizer: Some(pre.json),
        decoder: pre_tokenizer::byte_level(true),
    })
}

pub fn gemma4(spec: &VocabSpec, ids: &SpecialIds) -> Result<Parts> {
    let bpe = BPE::builder()
        .vocab_and_merges(vocab(spec), stored_merges(spec)?)
        .byte_fallback(true)
        .fuse_unk(true)
        .unk_token(spelling(spec, ids.unk).unwrap_or("<unk>").into());
    Ok(Parts {
        model: bpe.build().map_err(plain)?.into(),
        normalizer: Some(space_to_mark()),
        pre_tokenizer: Some(json!({
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": false,
        })),
        decoder: json!({"type": "Sequence", "decoders": [
            mark_to_space(),
            {"type": "ByteFallback"},
            {"type": "Fuse"},
        ]}),
    })
}

pub fn sentencepiece(spec: &VocabSpec, ids: &SpecialIds) -> Result<Parts> {
    let count = spec.tokens.len();
    ensure!(
        spec.scores.len() == count,
        "no scores; a sentencepiece vocabulary needs one per token"
    );
    let mut bpe = BPE::builder()
        .vocab_and_merges(vocab(spec), merges_from_scores(spec))
        .byte_fallback(true)
        .fuse_unk(true);
    if let Some(unk) = spelling(spec, ids.unk) {
        bpe = bpe.unk_token(unk.into());
    }
    let mut normalizers = vec![];
    let mut decoders = vec![
        mark_to_space(),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if add_space_prefix(spec) {
        normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    normalizers.push(space_to_mark());
    Ok(Parts {
        model: bpe.build().map_err(plain)?.into(),
        normalizer: Some(json!({"type": "Sequence", "normalizers": normalizers})),
        pre_tokenizer: None,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
    })
}

fn space_to_mark() -> serde_json::Value {
    json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
}

fn mark_to_space() -> serde_json::Value {
    json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "})
}

/// A merge is stored as "left right".  The left side has at least one character, which may itself be
/// a space in vocabularies that do not mark spaces.
fn stored_merges(spec: &VocabSpec) -> Result<Vec<(String, String)>> {
    let mut merges = Vec::with_capacity(spec.merges.len());
    for (i, merge) in spec.merges.iter().enumerate() {
        let cut = merge.char_indices().skip(1).find(|&(_, c)| c == ' ');
        let Some((cut, _)) = cut else {
            anyhow::bail!("merge {i} is {merge:?}; expected two tokens with a space between them");
        };
        merges.push((merge[..cut].to_string(), merge[cut + 1..].to_string()));
    }
    Ok(merges)
}

/// Two tokens that join into a third.
struct Merge<'a> {
    score: f32,
    left: &'a str,
    right: &'a str,
    lengths: [usize; 2], // of left and right, in characters
    ids: [u32; 3],       // joined, left, right
}

/// sentencepiece stores no merges: all pairs of tokens that join into a token, best score first.
/// The order is that of transformers' converter; ties go by id.
fn merges_from_scores(spec: &VocabSpec) -> Vec<(String, String)> {
    let mergeable = |i: usize| {
        use kind::{BYTE, CONTROL, UNKNOWN, USER_DEFINED};
        !matches!(kind_of(spec, i), UNKNOWN | CONTROL | USER_DEFINED | BYTE)
            && spec.tokens[i].len() <= MAX_MERGED_BYTES
    };
    let ids: HashMap<&str, u32> = (0..spec.tokens.len())
        .filter(|&i| mergeable(i))
        .map(|i| (spec.tokens[i].as_str(), i as u32))
        .collect();
    let mut merges = vec![];
    for (&token, &id) in &ids {
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if let (Some(&l), Some(&r)) = (ids.get(left), ids.get(right)) {
                merges.push(Merge {
                    score: spec.scores[id as usize],
                    left,
                    right,
                    lengths: [left.chars().count(), right.chars().count()],
                    ids: [id, l, r],
                });
            }
        }
    }
    merges.sort_unstable_by(by_rank);
    merges
        .into_iter()
        .map(|m| (m.left.to_string(), m.right.to_string()))
        .collect()
}

fn by_rank(a: &Merge, b: &Merge) -> Ordering {
    b.score
        .total_cmp(&a.score)
        .then(b.lengths.cmp(&a.lengths))
        .then(a.ids.cmp(&b.ids))
}
