//! Values as Python's str() prints them.
use minijinja::value::ValueKind;
use minijinja::Value;

/// Deeper values print as "..."; templates can build them without end.
pub const MAX_DEPTH: usize = 100;

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
pub fn string(value: &Value) -> String {
    let mut out = String::new();
    match value.kind() {
        ValueKind::Seq | ValueKind::Map | ValueKind::Number => repr(&mut out, value, 0),
        _ => out.push_str(&value.to_string()),
    }
    out
}

/// repr(value).
fn repr(out: &mut String, value: &Value, depth: usize) {
    if depth > MAX_DEPTH {
        return out.push_str("...");
    }
    match value.kind() {
        ValueKind::String => quoted(out, value.as_str().unwrap_or("")),
        ValueKind::Number if !value.is_integer() => out.push_str(&float(as_float(value))),
        ValueKind::Undefined => out.push_str("Undefined"),
        ValueKind::Seq => sequence(out, value, depth),
        ValueKind::Map => mapping(out, value, depth),
        _ => out.push_str(&value.to_string()),
    }
}

fn sequence(out: &mut String, value: &Value, depth: usize) {
    let is_tuple = value.is_tuple();
    out.push(if is_tuple { '(' } else { '[' });
    let mut count = 0;
    for item in value.try_iter().into_iter().flatten() {
        if count > 0 {
            out.push_str(", ");
        }
        repr(out, &item, depth + 1);
        count += 1;
    }
    if is_tuple && count == 1 {
        out.push(',');
    }
    out.push(if is_tuple { ')' } else { ']' });
}

fn mapping(out: &mut String, value: &Value, depth: usize) {
    out.push('{');
    for (i, key) in value.try_iter().into_iter().flatten().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        repr(out, &key, depth + 1);
        out.push_str(": ");
        repr(out, &value.get_item(&key).unwrap_or_default(), depth + 1);
    }
    out.push('}');
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
    use minijinja::Value;

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
        assert_eq!(
            string(&value),
            r#"{'a': [1, 2.0, None, True], 'b': 'it\'s "\n'}"#
        );
    }
}
