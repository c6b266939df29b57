//! Values as Python's str() prints them.
use super::environment::bad;
use super::guards;
use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};
use std::fmt::Write;

/// Deeper values print as "..."; templates can build them without end.
pub const MAX_DEPTH: usize = 100;

const MAX_MARGIN: usize = 1024;

/// repr() of a Python float.
pub fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    // Rust and Python agree on the shortest digits, not on when to use an exponent.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = value.to_string();
        return if plain.contains('.') {
            plain
        } else {
            plain + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

pub fn as_float(value: &Value) -> f64 {
    f64::try_from(value.clone()).unwrap_or(f64::NAN)
}

/// str(value).
pub fn string(state: &State, value: &Value) -> Result<String, Error> {
    let mut printer = Printer {
        out: String::new(),
        state,
    };
    match value.as_str() {
        Some(text) => return Ok(text.to_string()),
        None if value.is_undefined() => {}
        None => printer.repr(value, 0)?,
    }
    Ok(printer.out)
}

/// markupsafe.escape(text).
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// What lines are indented with: that many spaces, or a text.
pub fn margin(filter: &str, width: &Value) -> Result<String, Error> {
    let margin = match width.as_str() {
        Some(text) => text.to_string(),
        None => {
            let spaces = i64::try_from(width.clone())?.max(0);
            " ".repeat(usize::try_from(spaces).map_or(MAX_MARGIN + 1, |n| n.min(MAX_MARGIN + 1)))
        }
    };
    if margin.len() > MAX_MARGIN {
        return Err(bad(format!(
            "{filter}: the indentation is above {MAX_MARGIN}"
        )));
    }
    Ok(margin)
}

/// Pays for text that is made from values: shared parts can make it far larger than they are.
pub fn pay(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(guards::PART + bytes as u64 / 64)
}

struct Printer<'a, 'env> {
    out: String,
    state: &'a State<'env, 'env>,
}

impl Printer<'_, '_> {
    fn repr(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            self.out.push_str("...");
            return Ok(());
        }
        let before = self.out.len();
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => return self.sequence(value, depth),
            ValueKind::Map => return self.mapping(value, depth),
            ValueKind::String => quoted(&mut self.out, value.as_str().unwrap_or("")),
            ValueKind::Number if !value.is_integer() => self.out.push_str(&float(as_float(value))),
            ValueKind::Undefined => self.out.push_str("Undefined"),
            ValueKind::Plain => self.object(value)?,
            _ => self.out.push_str(&value.to_string()),
        }
        pay(self.state, self.out.len() - before)
    }

    /// Macros and loops print themselves, with what they hold.
    fn object(&mut self, value: &Value) -> Result<(), Error> {
        match write!(Paid(self), "{value}") {
            Ok(()) => Ok(()),
            Err(_) => pay(self.state, 0), // fails, since that is what stopped it
        }
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let is_tuple = value.is_tuple();
        self.out.push(if is_tuple { '(' } else { '[' });
        let mut count = 0;
        for item in value.try_iter()? {
            self.comma(count);
            self.repr(&item, depth + 1)?;
            count += 1;
        }
        if is_tuple && count == 1 {
            self.out.push(',');
        }
        self.out.push(if is_tuple { ')' } else { ']' });
        pay(self.state, 0)
    }

    fn mapping(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        for (count, key) in value.try_iter()?.enumerate() {
            self.comma(count);
            self.repr(&key, depth + 1)?;
            self.out.push_str(": ");
            self.repr(&value.get_item(&key)?, depth + 1)?;
        }
        self.out.push('}');
        pay(self.state, 0)
    }

    fn comma(&mut self, count: usize) {
        if count > 0 {
            self.out.push_str(", ");
        }
    }
}

/// Stops a value that prints more than there is fuel for.
struct Paid<'a, 'b, 'env>(&'a mut Printer<'b, 'env>);

impl Write for Paid<'_, '_, '_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        pay(self.0.state, text.len()).map_err(|_| std::fmt::Error)?;
        self.0.out.push_str(text);
        Ok(())
    }
}

fn quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests {
    use super::{float, string};
    use minijinja::{Environment, Value};

    #[test]
    fn floats_are_spelled_as_python_spells_them() {
        // repr() of CPython 3.11
        for (value, spelling) in [
            (1.0, "1.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-0.0, "-0.0"),
            (1e300, "1e+300"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(float(value), spelling);
        }
    }

    #[test]
    fn containers_are_spelled_as_python_spells_them() {
        let value: Value =
            serde_json::from_str(r#"{"a": [1, 2.0, null, true], "b": "it's \"\n"}"#).unwrap();
        let environment = Environment::new();
        let text = string(&environment.empty_state(), &value).unwrap();
        assert_eq!(text, r#"{'a': [1, 2.0, None, True], 'b': 'it\'s "\n'}"#);
    }
}
