//! BERT's WordPiece vocabularies.
use super::{kind, kind_of, spelling, Parts, SpecialIds};
use crate::ffi::VocabSpec;
use crate::tokenizer::plain;
use anyhow::Result;
use serde_json::json;
use tokenizers::models::wordpiece::WordPiece;

pub fn parts(spec: &VocabSpec, ids: &SpecialIds) -> Result<Parts> {
    let ids_of = spec.tokens.iter().enumerate();
    let vocab = ids_of.map(|(i, token)| (hugging_face_spelling(token, kind_of(spec, i)), i as u32));
    let model = WordPiece::builder()
        .vocab(vocab.collect::<tokenizers::models::bpe::Vocab>())
        .unk_token(spelling(spec, ids.unk).unwrap_or("[UNK]").into())
        .build()
        .map_err(plain)?;
    Ok(Parts {
        model: model.into(),
        normalizer: Some(json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": true,
            "strip_accents": null,
            "lowercase": true,
        })),
        pre_tokenizer: Some(json!({"type": "BertPreTokenizer"})),
        decoder: json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
    })
}

/// GGUF marks the start of a word ("▁x" and "x"), Hugging Face its continuation ("x" and "##x").
fn hugging_face_spelling(token: &str, kind: i32) -> String {
    if let Some(word) = token.strip_prefix('▁') {
        return word.to_string();
    }
    let bracketed = token.len() > 2 && token.starts_with('[') && token.ends_with(']');
    if kind == kind::CONTROL || bracketed {
        token.to_string()
    } else {
        format!("##{token}")
    }
}
