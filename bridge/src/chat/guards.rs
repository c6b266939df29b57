//! What work inside of values costs: the tests and filters that `program` puts between instructions,
//! and filters and tests of minijinja that pay first.
use super::environment::bad;
use super::python;
use minijinja::value::{from_args, Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{filters, tests, Environment, Error, State, Value};

/// No template can spell these names.
pub const WALK: &str = "$walk";
pub const KEY: &str = "$key";
pub const LAZY: &str = "$lazy";
pub const PRINTED: &str = "$printed";
pub const LIST: &str = "$list";
pub const TEXT: &str = "$text";
pub const MAP: &str = "$map";

/// What a step into a value costs, with the allocation that it takes, and for how much text one unit
/// of fuel pays.
pub const PART: u64 = 4;
const BYTES: u64 = 64;

/// What a value costs that has lists, mappings or other objects in it.
pub const NESTING: u64 = 100;

pub fn add_to(environment: &mut Environment) {
    environment.add_test(WALK, |state: &State, value: &Value| {
        walk(state, value).map(|()| true)
    });
    environment.add_test(KEY, |value: &Value| hashable(value).map(|()| true));
    environment.add_test(LAZY, is_lazy);
    environment.add_test(PRINTED, is_printed);
    environment.add_filter(LIST, list);
    environment.add_filter(TEXT, text);
    environment.add_filter(MAP, map);
    environment.add_filter("chain", chain);
    environment.add_filter("indent", indent);
    add_walkers(environment);
}

/// Filters and tests whose work is that of a walk through their arguments, and at most a few times
/// that.
fn add_walkers(environment: &mut Environment) {
    macro_rules! filters {
        ($($name:literal: $filter:ident),* $(,)?) => {
            $(environment.add_filter($name, paid(Value::from_function(filters::$filter)));)*
        };
    }
    macro_rules! tests {
        ($($name:literal: $test:ident),* $(,)?) => {
            $(environment.add_test($name, paid(Value::from_function(tests::$test)));)*
        };
    }
    filters! {
        "attr": attr, "capitalize": capitalize, "dictsort": dictsort, "e": escape, "escape": escape,
        "float": float, "format": format, "groupby": groupby, "int": int, "join": join,
        "lines": lines, "lower": lower, "max": max, "min": min, "replace": replace, "safe": safe,
        "sort": sort, "split": split, "sum": sum, "title": title, "trim": trim, "unique": unique,
        "upper": upper,
    }
    tests! {
        "endingwith": is_endingwith, "eq": is_eq, "==": is_eq, "equalto": is_eq, "ge": is_ge,
        ">=": is_ge, "greaterthan": is_gt, "gt": is_gt, ">": is_gt, "in": is_in, "le": is_le,
        "<=": is_le, "lessthan": is_lt, "lt": is_lt, "<": is_lt, "ne": is_ne, "!=": is_ne,
        "sameas": is_sameas, "startingwith": is_startingwith,
    }
}

/// Also pays for what a new value nests, which may be a call's named arguments.
fn is_lazy(state: &State, values: Rest<ValueOrKwargs>) -> Result<bool, Error> {
    let mut lazy = false;
    for value in values.into_values() {
        pay_for_nesting(state, &value)?;
        lazy |= value.kind() == ValueKind::Iterable;
    }
    Ok(lazy)
}

/// minijinja gives values free, compares and prints them by recursion, half a kilobyte for each level.
/// So one more level is dear: 200,000 of them take all fuel that there can be.
fn pay_for_nesting(state: &State, value: &Value) -> Result<(), Error> {
    let is_map = value.kind() == ValueKind::Map;
    if value.as_object().is_none() || !(is_map || is_list(value)) {
        return Ok(());
    }
    for (count, part) in (1u64..).zip(value.try_iter()?) {
        let part = if is_map { value.get_item(&part)? } else { part };
        if part.as_object().is_some() {
            return state.consume_fuel(NESTING);
        }
        state.consume_fuel(u64::from(count % 4 == 0))?;
    }
    Ok(())
}

type Function = dyn Fn(&mut State, Rest<ValueOrKwargs>) -> Result<Value, Error> + Send + Sync;

fn paid(function: Value) -> Box<Function> {
    Box::new(move |state, arguments| {
        let arguments = arguments.into_values();
        for argument in &arguments {
            walk(state, argument)?;
        }
        function.call(state, &arguments)
    })
}

/// Pays for walking through a value and all its parts, as often as they stand in it.
pub fn walk(state: &State, value: &Value) -> Result<(), Error> {
    if value.as_object().is_none() {
        return Ok(());
    }
    let mut waiting = vec![value.clone()];
    while let Some(value) = waiting.pop() {
        let length = value.as_str().map_or(0, str::len) as u64;
        state.consume_fuel(PART + length / BYTES)?;
        let is_map = value.kind() == ValueKind::Map;
        if value.as_object().is_none() || !(is_map || is_list(&value)) {
            continue;
        }
        for part in value.try_iter()? {
            state.consume_fuel(PART)?; // not later: the parts wait in memory
            if is_map {
                waiting.push(value.get_item(&part)?);
            }
            waiting.push(part);
        }
    }
    Ok(())
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

/// As in Python.  Tuples are left out too: minijinja would walk through them.
fn hashable(value: &Value) -> Result<(), Error> {
    match value.as_object() {
        Some(_) => Err(bad(format!("unhashable type: {}", value.kind()))),
        None => Ok(()),
    }
}

/// Whether it is printed in Python's way, which minijinja's operator `~` does not know.
fn is_printed(value: &Value) -> bool {
    value.as_object().is_some() || (value.kind() == ValueKind::Number && !value.is_integer())
}

fn text(state: &State, value: &Value) -> Result<String, Error> {
    python::string(state, value)
}

fn list(state: &State, value: &Value) -> Result<Value, Error> {
    let mut items = vec![];
    for item in value.try_iter()? {
        state.consume_fuel(1)?;
        items.push(item);
    }
    let list = Value::from(items);
    pay_for_nesting(state, &list)?;
    Ok(list)
}

/// Key, value, key, value ...
fn map(state: &State, parts: Rest<Value>) -> Result<Value, Error> {
    let pairs = parts.chunks_exact(2);
    for pair in pairs.clone() {
        hashable(&pair[0])?;
    }
    let map = Value::from_pairs(pairs.map(|pair| (pair[0].clone(), pair[1].clone())));
    pay_for_nesting(state, &map)?;
    Ok(map)
}

fn chain(state: &State, first: Value, others: Rest<Value>) -> Result<Value, Error> {
    let mut items = vec![];
    for part in std::iter::once(&first).chain(others.iter()) {
        for item in part.try_iter()? {
            state.consume_fuel(1)?;
            items.push(item);
        }
    }
    Ok(Value::from(items))
}

/// indent(s, width=4, first=False, blank=False); a width may be text.
fn indent(state: &State, value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let arguments = arguments.into_values();
    let (width, first, blank, named): (Option<Value>, Option<bool>, Option<bool>, Kwargs) =
        from_args(&arguments)?;
    let width = match width {
        Some(width) => Some(width),
        None => named.get::<Option<Value>>("width")?,
    };
    let first = first.map_or_else(|| named.get::<Option<bool>>("first"), |x| Ok(Some(x)))?;
    let blank = blank.map_or_else(|| named.get::<Option<bool>>("blank"), |x| Ok(Some(x)))?;
    named.assert_all_used()?;
    let margin = match width {
        None => " ".repeat(4),
        Some(width) => python::margin("indent", &width)?,
    };
    let text = python::string(state, value)?;
    let mut out = String::new();
    for (i, line) in text.split('\n').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        let wanted = if i == 0 {
            first
        } else {
            Some(!line.is_empty() || blank == Some(true))
        };
        if wanted == Some(true) {
            out.push_str(&margin);
        }
        out.push_str(line);
        python::pay(state, margin.len() + line.len())?;
    }
    Ok(out)
}
