//! Reads the few protobuf fields of a sentencepiece model (tokenizer.model) that a tokenizer needs.
use crate::ffi::VocabSpec;
use anyhow::{bail, ensure, Context, Result};

pub fn parse(model: &[u8]) -> Result<VocabSpec> {
    let mut spec = defaults();
    for field in fields(model) {
        match field.context("not a sentencepiece model")? {
            (1, Field::Bytes(piece)) => read_piece(piece, &mut spec)?,
            (2, Field::Bytes(trainer)) => read_trainer(trainer, &mut spec)?,
            (3, Field::Bytes(normalizer)) => read_normalizer(normalizer, &mut spec)?,
            _ => {}
        }
    }
    ensure!(
        !spec.tokens.is_empty(),
        "not a sentencepiece model: it has no pieces"
    );
    Ok(spec)
}

/// What protobuf leaves out has these values in sentencepiece_model.proto.
fn defaults() -> VocabSpec {
    VocabSpec {
        model: "t5".into(),
        pre: String::new(),
        tokens: vec![],
        scores: vec![],
        kinds: vec![],
        merges: vec![],
        charsmap: vec![],
        bos: 1,
        eos: 2,
        unk: 0,
        sep: -1,
        cls: -1,
        add_bos: -1,
        add_eos: -1,
        add_space_prefix: 1,
        remove_extra_whitespaces: true,
    }
}

fn read_piece(bytes: &[u8], spec: &mut VocabSpec) -> Result<()> {
    let (mut token, mut score, mut kind) = (String::new(), 0.0, 1);
    for field in fields(bytes) {
        match field? {
            (1, Field::Bytes(text)) => {
                let text = std::str::from_utf8(text);
                token = text
                    .with_context(|| format!("piece {}", spec.tokens.len()))?
                    .into();
            }
            (2, Field::Float(value)) => score = value,
            (3, Field::Int(value)) => kind = value as i32,
            _ => {}
        }
    }
    spec.tokens.push(token);
    spec.scores.push(score);
    spec.kinds.push(kind);
    Ok(())
}

fn read_trainer(bytes: &[u8], spec: &mut VocabSpec) -> Result<()> {
    for field in fields(bytes) {
        // Ids are 32-bit; a missing one is -1, stored as 64 bits.
        match field? {
            (3, Field::Int(1)) => spec.model = "t5".into(),
            (3, Field::Int(2)) => spec.model = "llama".into(),
            (3, Field::Int(kind)) => {
                bail!("sentencepiece model type {kind}; expected unigram (1) or bpe (2)")
            }
            (40, Field::Int(id)) => spec.unk = i64::from(id as i32),
            (41, Field::Int(id)) => spec.bos = i64::from(id as i32),
            (42, Field::Int(id)) => spec.eos = i64::from(id as i32),
            _ => {}
        }
    }
    Ok(())
}

fn read_normalizer(bytes: &[u8], spec: &mut VocabSpec) -> Result<()> {
    for field in fields(bytes) {
        match field? {
            (2, Field::Bytes(map)) => spec.charsmap = map.to_vec(),
            (3, Field::Int(on)) => spec.add_space_prefix = i8::from(on != 0),
            (4, Field::Int(on)) => spec.remove_extra_whitespaces = on != 0,
            _ => {}
        }
    }
    Ok(())
}

/// A protobuf field's value.
enum Field<'a> {
    Int(u64),
    Bytes(&'a [u8]),
    Float(f32),
    Skipped,
}

/// The fields of one protobuf message, with their numbers.
fn fields(bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>)>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = read_field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn read_field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Field<'a>)> {
    let key = read_varint(rest)?;
    let value = match key & 7 {
        0 => Field::Int(read_varint(rest)?),
        1 => {
            take(rest, 8)?;
            Field::Skipped
        }
        2 => {
            let length = read_varint(rest)?;
            Field::Bytes(take(rest, length)?)
        }
        5 => Field::Float(f32::from_le_bytes(take(rest, 4)?.try_into()?)),
        wire => bail!("protobuf wire type {wire}; expected 0, 1, 2 or 5"),
    };
    Ok((key >> 3, value))
}

fn read_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    bail!("protobuf varint of more than 10 bytes")
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let here = rest.len();
    let length = usize::try_from(length)
        .ok()
        .filter(|&length| length <= here);
    let Some(length) = length else {
        bail!("truncated: {here} bytes left")
    };
    let (taken, after) = rest.split_at(length);
    *rest = after;
    Ok(taken)
}
