//! Chat templates with the semantics of transformers' jinja2 environment.
mod clock;
mod environment;
mod generation;
mod guards;
mod json;
mod namespaces;
mod program;
mod python;
mod request;

use crate::ffi::{ChatRequest, Rendered};
use crate::guard::guard;
use anyhow::{anyhow, ensure, Context, Result};
use environment::Raised;
use minijinja::{Error, ErrorKind, Value};
use namespaces::EmptyNamespaces;
use program::Program;
use serde_json::Value as Json;
use std::error::Error as _;

/// Several times the longest in use.  minijinja recurses for nested expressions, up to one level for
/// each byte, and a level takes up to a kilobyte of stack.
const MAX_SOURCE: usize = 256 << 10;
const STACK: usize = 256 << 20;

pub struct RsChatTemplate {
    source: String,
}

impl RsChatTemplate {
    pub fn new(source: &str) -> Result<Self> {
        ensure!(
            source.len() <= MAX_SOURCE,
            "the template has {} bytes; expected at most {MAX_SOURCE}",
            source.len()
        );
        on_large_stack(|| {
            let source = generation::rewrite(source).into_owned();
            Program::new(&source).map_err(show)?;
            Ok(RsChatTemplate { source })
        })
    }

    /// Renders with a context that is complete already.
    pub fn render(&self, context_json: &str) -> Result<Rendered> {
        on_large_stack(|| {
            let context = serde_json::from_str(context_json).context("template context");
            context.map_or_else(refusal, |context| self.run(context, context_json.len()))
        })
    }

    /// Renders a conversation.
    pub fn render_chat(&self, request: &ChatRequest) -> Result<Rendered> {
        on_large_stack(|| {
            let (context, continued) = match request::context(request) {
                Ok(parts) => parts,
                Err(error) => return refusal(error),
            };
            let size = request.messages.len() + request.tools.len() + request.extra.len();
            let rendered = self.run(context, size)?;
            match continued {
                Some(continued) if !rendered.refused => match continued.cut(rendered.text) {
                    Ok(text) => Ok(Rendered {
                        refused: false,
                        text,
                    }),
                    Err(error) => refusal(error),
                },
                _ => Ok(rendered),
            }
        })
    }

    fn run(&self, context: Json, size: usize) -> Result<Rendered> {
        let context = match complete(context) {
            Ok(context) => context,
            Err(error) => return refusal(error),
        };
        // Compiled anew each time: it takes a tenth of a millisecond, and a program borrows its source.
        let program = Program::new(&self.source).map_err(show)?;
        let environment = environment::new(size);
        let _after = EmptyNamespaces;
        match program.run(&environment, context) {
            Ok(text) => Ok(Rendered {
                refused: false,
                text,
            }),
            Err(error) if was_raised(&error) => refusal(show(error)),
            Err(error) => Err(show(error)),
        }
    }
}

/// Like `guard`, on a thread whose stack holds whatever a template can build.
fn on_large_stack<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().stack_size(STACK);
        let thread = builder
            .spawn_scoped(scope, || guard(f))
            .context("starting a thread")?;
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("internal error: the thread broke")))
    })
}

/// The caller's conversation and the template do not fit each other.
fn refusal(error: anyhow::Error) -> Result<Rendered> {
    Ok(Rendered {
        refused: true,
        text: format!("{error:#}"),
    })
}

fn complete(mut context: Json) -> Result<Value> {
    let object = context.as_object_mut();
    let object = object.ok_or_else(|| anyhow!("template context: expected a JSON object"))?;
    // transformers always passes these.
    for key in ["tools", "documents"] {
        object.entry(key).or_insert(Json::Null);
    }
    object
        .entry("add_generation_prompt")
        .or_insert(Json::Bool(false));
    if let Some(Json::Array(messages)) = object.get_mut("messages") {
        messages.iter_mut().for_each(share_reasoning);
    }
    Ok(serde_json::from_value(context)?)
}

/// Templates look for reasoning under different names; transformers fills one from the other.
fn share_reasoning(message: &mut Json) {
    let Some(message) = message.as_object_mut() else {
        return;
    };
    let names = ["reasoning_content", "thinking", "reasoning"];
    let found = names
        .iter()
        .find_map(|&name| message.get(name).filter(|value| !value.is_null()));
    if let Some(reasoning) = found.cloned() {
        message.entry("thinking").or_insert(reasoning.clone());
        message.insert("reasoning_content".into(), reasoning);
    }
}

/// Whether the template called raise_exception.
fn was_raised(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if cause.is::<Raised>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The message and the line, without minijinja's long form.
fn show(error: Error) -> anyhow::Error {
    let kind = match error.kind() {
        ErrorKind::OutOfFuel => "the template does too much work".to_string(),
        kind => kind.to_string(),
    };
    let message = error.detail().map_or(kind, str::to_string);
    match error.line() {
        Some(line) => anyhow!("{message} (line {line})"),
        None => anyhow!("{message}"),
    }
}
