//! The filter `tojson` with the semantics of Python's json.dumps, as transformers defines it.
use super::environment::bad;
use super::python;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, State, Value};

struct Style {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

/// tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)
pub fn tojson(
    state: &State,
    value: &Value,
    positional: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let style = style(&positional, &named)?;
    let mut out = Writer {
        out: String::new(),
        style,
        state,
    };
    out.value(value, 0)?;
    Ok(Value::from(out.out))
}

fn style(positional: &[Value], named: &Kwargs) -> Result<Style, Error> {
    let argument = |i: usize, name: &str| -> Result<Option<Value>, Error> {
        let value = named
            .get::<Option<Value>>(name)?
            .or_else(|| positional.get(i).cloned());
        Ok(value.filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ascii = argument(0, "ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = argument(1, "indent")?
        .map(|value| python::margin("tojson", &value))
        .transpose()?;
    let item = if indent.is_some() { "," } else { ", " };
    let mut style = Style {
        ascii,
        indent,
        item: item.into(),
        key: ": ".into(),
        sort: false,
    };
    if let Some(separators) = argument(2, "separators")? {
        style.item = separators.get_item_by_index(0)?.to_string();
        style.key = separators.get_item_by_index(1)?.to_string();
    }
    style.sort = argument(3, "sort_keys")?.is_some_and(|value| value.is_true());
    named.assert_all_used()?;
    Ok(style)
}

struct Writer<'a, 'env> {
    out: String,
    style: Style,
    state: &'a State<'env, 'env>,
}

impl Writer<'_, '_> {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > python::MAX_DEPTH {
            return Err(bad(format!(
                "tojson: nested deeper than {}",
                python::MAX_DEPTH
            )));
        }
        let before = self.out.len();
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self
                .out
                .push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or("")),
            ValueKind::Map => return self.mapping(value, depth),
            ValueKind::Seq | ValueKind::Iterable => return self.sequence(value, depth),
            kind => {
                return Err(bad(format!(
                    "Object of type {kind} is not JSON serializable"
                )))
            }
        }
        self.pay(self.out.len() - before)
    }

    fn pay(&self, bytes: usize) -> Result<(), Error> {
        python::pay(self.state, bytes)
    }

    fn mapping(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.style.sort {
            keys.sort();
        }
        let empty = keys.is_empty();
        self.out.push('{');
        for (i, key) in keys.iter().enumerate() {
            self.start_item(i, depth + 1)?;
            self.key(key)?;
            self.out.push_str(&self.style.key);
            self.value(&value.get_item(key)?, depth + 1)?;
        }
        self.end(empty, depth, '}')
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let mut empty = true;
        self.out.push('[');
        for (i, item) in value.try_iter()?.enumerate() {
            self.start_item(i, depth + 1)?;
            self.value(&item, depth + 1)?;
            empty = false;
        }
        self.end(empty, depth, ']')
    }

    fn start_item(&mut self, index: usize, depth: usize) -> Result<(), Error> {
        if index > 0 {
            self.out.push_str(&self.style.item);
        }
        self.new_line(depth)
    }

    fn end(&mut self, empty: bool, depth: usize, close: char) -> Result<(), Error> {
        if !empty {
            self.new_line(depth)?;
        }
        self.out.push(close);
        self.pay(0)
    }

    fn new_line(&mut self, depth: usize) -> Result<(), Error> {
        if let Some(indent) = &self.style.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
            self.pay(indent.len() * depth)?;
        }
        Ok(())
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or("")),
            ValueKind::None => self.string("null"),
            ValueKind::Bool => self.string(if key.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.string(&number(key)),
            _ => return Err(bad("keys must be str, int, float, bool or None")),
        }
        Ok(())
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if (c as u32) < 0x20 || (self.style.ascii && !c.is_ascii()) => self.escape(c),
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, c: char) {
        for unit in c.encode_utf16(&mut [0; 2]) {
            self.out.push_str(&format!("\\u{unit:04x}"));
        }
    }
}

fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    match python::as_float(value) {
        f if f.is_nan() => "NaN".into(),
        f if f == f64::INFINITY => "Infinity".into(),
        f if f == f64::NEG_INFINITY => "-Infinity".into(),
        f => python::float(f),
    }
}
