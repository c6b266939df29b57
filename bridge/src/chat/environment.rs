//! minijinja set up to behave as transformers' jinja2 environment, with bounds on what a template
//! may cost.
use super::{clock, guards, json, namespaces, python};
use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
};
use minijinja_contrib::pycompat::unknown_method_callback;

/// A unit is one instruction or 64 bytes, so this is about a second and 300 MB; most
/// templates need about 120 for a message, some work through all messages for each.
/// It also bounds how deeply values can be nested, which minijinja walks by recursion: printing and
/// comparing need 64 MB of stack then.  `program` and `guards` charge what minijinja does not.
const FUEL: u64 = 4_000_000;
/// There are templates in use that look at each character.
const FUEL_PER_BYTE: u64 = 16;
const MAX_CONTEXT_FUEL: u64 = 16_000_000;
const MAX_RECURSION: usize = 400;

/// Marks an error that the template itself asked for.
#[derive(Debug)]
pub struct Raised;

impl std::fmt::Display for Raised {
    fn fmt(&self, out: &mut std::fmt::Formatter) -> std::fmt::Result {
        out.write_str("raise_exception")
    }
}

impl std::error::Error for Raised {}

pub fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// `context_size`: of the conversation and all else that the template gets, in bytes.
pub fn new(context_size: usize) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(format_value);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_fuel(Some(
        FUEL + (FUEL_PER_BYTE * context_size as u64).min(MAX_CONTEXT_FUEL),
    ));
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("string", python::string);
    // Their indentation grows with the square of the nesting, and costs no fuel.
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    environment.add_function("namespace", namespaces::namespace);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    guards::add_to(&mut environment);
    environment
}

fn raise_exception(state: &State, message: &Value) -> Result<Value, Error> {
    Err(bad(python::string(state, message)?).with_source(Raised))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    clock::strftime_now(format).ok_or_else(|| bad("strftime_now: the format is too long"))
}

/// Python: whatever has a length and an index is a sequence, strings and mappings too.
fn is_sequence(value: &Value) -> bool {
    use ValueKind::{Map, Seq, String, Undefined};
    matches!(value.kind(), Seq | Map | String | Undefined)
}

fn is_iterable(value: &Value) -> bool {
    is_sequence(value) || value.kind() == ValueKind::Iterable
}

fn format_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let escaping = matches!(state.auto_escape(), AutoEscape::Html) && !value.is_safe();
    match value.as_str() {
        Some(text) if escaping => out.write_str(&python::html(text)),
        Some(text) => out.write_str(text),
        None if escaping => out.write_str(&python::html(&python::string(state, value)?)),
        None => out.write_str(&python::string(state, value)?),
    }
    .map_err(Error::from)
}

/// Methods of Python's str that minijinja-contrib lacks, then those that it has.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if matches!(name, "count" | "index") {
        guards::walk(state, value)?;
    }
    args.iter().try_for_each(|arg| guards::walk(state, arg))?;
    let affix = || args.first().and_then(Value::as_str).unwrap_or("");
    match (value.as_str(), name) {
        (Some(text), "removeprefix") => Ok(Value::from(text.strip_prefix(affix()).unwrap_or(text))),
        (Some(text), "removesuffix") => Ok(Value::from(text.strip_suffix(affix()).unwrap_or(text))),
        _ => unknown_method_callback(state, value, name, args),
    }
}
