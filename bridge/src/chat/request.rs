//! A conversation as transformers' apply_chat_template takes it: what the template gets to see, and
//! the text of a message that is to be continued.
use crate::ffi::ChatRequest;
use anyhow::{bail, ensure, Context, Result};
use serde_json::{Map, Value as Json};

/// transformers' own marker: the text is cut where it comes out.
const TAG: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// What must come out of the template when the last message is to be continued.
pub struct Continued {
    message: String,
}

/// Later keys override earlier ones, so that `extra` has the last word.
pub fn context(request: &ChatRequest) -> Result<(Json, Option<Continued>)> {
    let mut messages = parse("messages", request.messages)?;
    ensure!(messages.is_array(), "messages: expected a JSON array");
    let mut continued = None;
    if request.continue_final_message {
        ensure!(
            !request.add_generation_prompt,
            "continue_final_message excludes add_generation_prompt; expected at most one of them"
        );
        continued = Some(tag_final_message(&mut messages)?);
    }
    let mut context = Map::new();
    context.insert("messages".into(), messages);
    context.insert("tools".into(), optional_array("tools", request.tools)?);
    context.insert(
        "add_generation_prompt".into(),
        request.add_generation_prompt.into(),
    );
    context.insert("enable_thinking".into(), request.enable_thinking.into());
    for (key, token) in [
        ("bos_token", request.bos_token),
        ("eos_token", request.eos_token),
    ] {
        if !token.is_empty() {
            context.insert(key.into(), token.into());
        }
    }
    if !request.extra.is_empty() {
        match parse("extra", request.extra)? {
            Json::Object(extra) => context.extend(extra),
            _ => bail!("extra: expected a JSON object"),
        }
    }
    Ok((Json::Object(context), continued))
}

fn parse(name: &str, text: &str) -> Result<Json> {
    serde_json::from_str(text).with_context(|| format!("{name}: not JSON"))
}

fn optional_array(name: &str, text: &str) -> Result<Json> {
    if text.is_empty() {
        return Ok(Json::Null);
    }
    let value = parse(name, text)?;
    ensure!(
        value.is_array() || value.is_null(),
        "{name}: expected a JSON array"
    );
    Ok(value)
}

/// Appends the marker to the last message's text.
fn tag_final_message(messages: &mut Json) -> Result<Continued> {
    let last = messages
        .as_array_mut()
        .and_then(|messages| messages.last_mut());
    let content = last.and_then(|message| message.get_mut("content"));
    let Some(text) = content.and_then(last_text) else {
        bail!("continue_final_message: the last message has no text to continue");
    };
    let message = text.trim().to_string();
    text.push_str(TAG);
    Ok(Continued { message })
}

/// The text of a message's content: a string, or the last text in a list of parts.
fn last_text(content: &mut Json) -> Option<&mut String> {
    let content = match content {
        Json::Array(parts) => parts
            .iter_mut()
            .rev()
            .find_map(|part| part.get_mut("text"))?,
        other => other,
    };
    match content {
        Json::String(text) => Some(text),
        _ => None,
    }
}

impl Continued {
    /// The rendered text up to the end of the message.
    pub fn cut(&self, mut rendered: String) -> Result<String> {
        let at = rendered.rfind(TAG.trim_end());
        let Some(at) = at.filter(|_| rendered.contains(&self.message)) else {
            bail!("continue_final_message: the template does not print the last message as it is");
        };
        let spaces_kept = rendered[at..].starts_with(TAG);
        rendered.truncate(at);
        if !spaces_kept {
            rendered.truncate(rendered.trim_end().len());
        }
        Ok(rendered)
    }
}
