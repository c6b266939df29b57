//! Ids to text, one at a time.
//!
//! A decoder may need the ids before to spell the next one (spaces between words, bytes of one
//! character), so each step decodes a small window: the ids of the piece before and those since.
//! Unlike the stream in `tokenizers`, it never fails on ids that a model made up, and gives out the
//! certain part of a text whose end is still open.
use crate::guard::guard;
use crate::tokenizer::plain;
use anyhow::Result;
use std::sync::Arc;
use tokenizers::Tokenizer;

/// Ids that may wait for the rest of a character.  A character has at most four bytes, so more can
/// only be ill-formed text; without a limit each of them would decode all the others again.
const MAX_WAITING: usize = 64;

const REPLACEMENT: char = '\u{fffd}';

pub struct RsDecodeStream {
    tokenizer: Arc<Tokenizer>,
    skip_special: bool,
    /// The window, and how many of its ids were given out completely.
    ids: Vec<u32>,
    done: usize,
    /// The part of the window's text that was given out.
    given: String,
}

impl RsDecodeStream {
    pub fn new(tokenizer: Arc<Tokenizer>, skip_special: bool) -> Self {
        RsDecodeStream {
            tokenizer,
            skip_special,
            ids: vec![],
            done: 0,
            given: String::new(),
        }
    }

    pub fn step(&mut self, id: u32) -> Result<String> {
        guard(|| {
            self.ids.push(id);
            let text = self.text(&self.ids)?;
            let open_ended = text.ends_with(REPLACEMENT);
            if self.ids.len() - self.done > MAX_WAITING {
                let piece = self.rest_of(&text)?;
                self.slide()?;
                return Ok(piece);
            }
            let certain = text.trim_end_matches(REPLACEMENT);
            if certain.len() <= self.given.len() {
                return Ok(String::new());
            }
            let piece = self.rest_of(certain)?;
            if open_ended {
                self.given = certain.to_string();
            } else {
                self.slide()?;
            }
            Ok(piece)
        })
    }

    /// What was held back; the stream is as new afterwards.
    pub fn finish(&mut self) -> Result<String> {
        guard(|| {
            let rest = self.rest_of(&self.text(&self.ids)?)?;
            self.ids.clear();
            self.given.clear();
            self.done = 0;
            Ok(rest)
        })
    }

    fn text(&self, ids: &[u32]) -> Result<String> {
        self.tokenizer.decode(ids, self.skip_special).map_err(plain)
    }

    /// `text` without what was given out.  Ill-formed byte tokens can change text that was complete
    /// before; then the new ids are spelled alone.
    fn rest_of(&self, text: &str) -> Result<String> {
        match text.strip_prefix(&*self.given) {
            Some(rest) => Ok(rest.to_string()),
            None => self.text(&self.ids[self.done..]),
        }
    }

    /// Everything was given out: keep only the last piece's ids as context.
    fn slide(&mut self) -> Result<()> {
        self.ids.drain(..self.done);
        self.done = self.ids.len();
        self.given = self.text(&self.ids)?;
        Ok(())
    }
}
