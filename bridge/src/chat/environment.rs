//! minijinja set up to behave as transformers' jinja2 environment, with bounds on what a template
//! may cost.
use super::{clock, json, python};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value,
};
use minijinja_contrib::pycompat::unknown_method_callback;

/// A unit is one instruction or 64 bytes; 2,000 messages of a kilobyte need about 240,000.
/// It also bounds how deeply values can be nested, which minijinja walks by recursion: printing and
/// comparing need 64 MB of stack then.
/// Known hole: minijinja joins lists, compares them and turns them into text (`~`, `lower`) without
/// a charge, so a template that doubles a list dozens of times can still take time and memory
/// without end.  Loops, recursion, strings and our own printing are charged.
const FUEL: u64 = 1_000_000;
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

pub fn new() -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()?,
    );
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_unknown_method_callback(method);
    environment.set_formatter(format_value);
    environment.set_recursion_limit(MAX_RECURSION);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("tojson", json::tojson);
    environment.add_filter("string", python::string);
    // Their indentation grows with the square of the nesting, and costs no fuel.
    environment.remove_filter("pprint");
    environment.remove_global("debug");
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_test("sequence", is_sequence);
    environment.add_test("iterable", is_iterable);
    Ok(environment)
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(bad(message).with_source(Raised))
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
    match value.as_str() {
        Some(text) => out.write_str(text),
        None => out.write_str(&python::string(state, value)?),
    }
    .map_err(Error::from)
}

/// Methods of Python's str that minijinja-contrib lacks, then those that it has.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let affix = || args.first().and_then(Value::as_str).unwrap_or("");
    match (value.as_str(), name) {
        (Some(text), "removeprefix") => Ok(Value::from(text.strip_prefix(affix()).unwrap_or(text))),
        (Some(text), "removesuffix") => Ok(Value::from(text.strip_suffix(affix()).unwrap_or(text))),
        _ => unknown_method_callback(state, value, name, args),
    }
}
