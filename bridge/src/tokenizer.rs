//! The tokenizer object that C++ holds.
use crate::decode_stream::RsDecodeStream;
use crate::ffi::{self, Encoding, VocabSpec};
use crate::guard::guard;
use crate::limits;
use crate::vocabulary;
use anyhow::{anyhow, ensure, Result};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use tokenizers::{AddedToken, Tokenizer};

/// Immutable once built; decode streams share its inner part.
pub struct RsTokenizer {
    inner: Arc<Tokenizer>,
    specials: HashSet<u32>,
    named: NamedIds,
}

/// What the vocabulary itself says about its special ids; -1: nothing.
#[derive(Clone, Copy)]
struct NamedIds {
    bos: i64,
    eos: i64,
    unk: i64,
}

/// `tokenizers` has its own error type, which anyhow cannot take over as it is.
pub fn plain(error: tokenizers::Error) -> anyhow::Error {
    anyhow!("{error}")
}

/// Ill-formed bytes become U+FFFD, as Python's bytes.decode("utf-8", "replace") has it.
fn utf8(text: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(text)
}

impl RsTokenizer {
    fn new(inner: Tokenizer, named: NamedIds) -> Self {
        let added = inner.get_added_tokens_decoder();
        let specials = added
            .iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| *id)
            .collect();
        RsTokenizer {
            inner: Arc::new(inner),
            specials,
            named,
        }
    }

    pub fn from_json(json: &[u8]) -> Result<Self> {
        limits::check(json)?;
        let mut inner = Tokenizer::from_bytes(json).map_err(plain)?;
        // The file may carry padding and truncation of the training set-up.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(plain)?;
        Ok(Self::new(
            inner,
            NamedIds {
                bos: -1,
                eos: -1,
                unk: -1,
            },
        ))
    }

    pub fn from_spec(spec: &VocabSpec) -> Result<Self> {
        let (inner, ids) = vocabulary::build(spec)?;
        Ok(Self::new(
            inner,
            NamedIds {
                bos: ids.bos,
                eos: ids.eos,
                unk: ids.unk,
            },
        ))
    }

    /// A tokenizer that knows these tokens too.  The library numbers new tokens itself, so each must
    /// come out with the id that the caller expects.
    pub fn with_added_tokens(&self, tokens: &[ffi::AddedToken]) -> Result<Box<Self>> {
        guard(|| {
            let mut inner = (*self.inner).clone();
            let mut tokens: Vec<_> = tokens.iter().collect();
            tokens.sort_by_key(|token| token.id);
            for token in tokens {
                let added =
                    AddedToken::from(token.content.clone(), token.special).normalized(false);
                inner.add_tokens([added]).map_err(plain)?;
                let id = inner.token_to_id(&token.content);
                ensure!(
                    id == Some(token.id),
                    "added token {:?} has id {}; expected {}",
                    token.content,
                    id.map_or("none".into(), |id| id.to_string()),
                    token.id
                );
            }
            Ok(Box::new(Self::new(inner, self.named)))
        })
    }

    pub fn encode(&self, text: &[u8], add_special: bool) -> Result<Encoding> {
        guard(|| {
            let encoding = self.inner.encode(utf8(text), add_special).map_err(plain)?;
            let offsets = encoding.get_offsets().iter();
            let special = encoding.get_special_tokens_mask().iter();
            Ok(Encoding {
                ids: encoding.get_ids().to_vec(),
                offsets: offsets
                    .flat_map(|&(begin, end)| [begin as u32, end as u32])
                    .collect(),
                special: special.map(|&mask| u8::from(mask != 0)).collect(),
            })
        })
    }

    pub fn encode_ids(&self, text: &[u8], add_special: bool) -> Result<Vec<u32>> {
        guard(|| {
            let encoding = self
                .inner
                .encode_fast(utf8(text), add_special)
                .map_err(plain)?;
            Ok(encoding.get_ids().to_vec())
        })
    }

    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        guard(|| self.inner.decode(ids, skip_special).map_err(plain))
    }

    pub fn decode_stream(&self, skip_special: bool) -> Box<RsDecodeStream> {
        Box::new(RsDecodeStream::new(self.inner.clone(), skip_special))
    }

    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    pub fn token_to_id(&self, token: &str) -> i64 {
        self.inner.token_to_id(token).map_or(-1, i64::from)
    }

    pub fn has_id(&self, id: u32) -> bool {
        self.inner.id_to_token(id).is_some()
    }

    pub fn id_to_token(&self, id: u32) -> Result<String> {
        guard(|| {
            self.inner
                .id_to_token(id)
                .ok_or_else(|| anyhow!("no token has id {id}"))
        })
    }

    pub fn is_special(&self, id: u32) -> bool {
        self.specials.contains(&id)
    }

    pub fn bos_id(&self) -> i64 {
        self.named.bos
    }

    pub fn eos_id(&self) -> i64 {
        self.named.eos
    }

    pub fn unk_id(&self) -> i64 {
        self.named.unk
    }
}

/// C++ calls const members from several threads.
const _: () = {
    const fn shareable<T: Send + Sync>() {}
    shareable::<RsTokenizer>();
    shareable::<crate::chat::RsChatTemplate>();
};
