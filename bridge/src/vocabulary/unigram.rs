//! sentencepiece's Unigram vocabularies (T5, XLM-R).
use super::{add_space_prefix, kind, kind_of, Parts, SpecialIds};
use crate::ffi::VocabSpec;
use crate::tokenizer::plain;
use anyhow::{ensure, Result};
use serde_json::json;
use tokenizers::models::unigram::Unigram;

pub fn parts(spec: &VocabSpec, ids: &SpecialIds) -> Result<Parts> {
    let count = spec.tokens.len();
    ensure!(
        spec.scores.len() == count,
        "no scores; a unigram vocabulary needs one per token"
    );
    let scores = spec.scores.iter().map(|&score| f64::from(score));
    let pieces: Vec<(String, f64)> = spec.tokens.iter().cloned().zip(scores).collect();
    let byte_fallback = (0..count).any(|i| kind_of(spec, i) == kind::BYTE);
    let unk = usize::try_from(ids.unk).ok();
    let model = Unigram::from(pieces, unk, byte_fallback).map_err(plain)?;
    let scheme = if add_space_prefix(spec) {
        "always"
    } else {
        "never"
    };
    let metaspace =
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": true});
    Ok(Parts {
        model: model.into(),
        normalizer: Some(json!({"type": "Sequence", "normalizers": normalizers(spec)})),
        pre_tokenizer: Some(metaspace.clone()),
        decoder: metaspace,
    })
}

fn normalizers(spec: &VocabSpec) -> Vec<serde_json::Value> {
    let mut steps = vec![];
    if !spec.charsmap.is_empty() {
        let map = base64(&spec.charsmap);
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
    }
    if spec.remove_extra_whitespaces {
        steps.push(json!({"type": "Strip", "strip_left": false, "strip_right": true}));
        steps.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}));
    }
    steps
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= group.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_pads_as_rfc_4648_shows() {
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let expected = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (text, code) in cases.iter().zip(expected) {
            assert_eq!(base64(text.as_bytes()), code);
        }
    }
}
