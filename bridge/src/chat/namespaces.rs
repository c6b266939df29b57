//! The objects that `namespace()` makes.  A template can put one into itself, and such a ring would
//! never be given free; so all are emptied when the template has been rendered.
use super::guards;
use minijinja::functions;
use minijinja::machinery::{eval, make_string_output, Instruction, Instructions};
use minijinja::value::ValueOrKwargs;
use minijinja::{AutoEscape, Environment, Error, State, Value};
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    /// A template is rendered on one thread, and no other at the same time.
    static MADE: RefCell<Vec<Value>> = const { RefCell::new(vec![]) };
}

pub fn namespace(state: &State, defaults: Option<ValueOrKwargs>) -> Result<Value, Error> {
    state.consume_fuel(guards::NESTING)?;
    let made = functions::namespace(defaults)?;
    MADE.with_borrow_mut(|all| all.push(made.clone()));
    Ok(made)
}

/// When it goes, it takes what they hold out of all namespaces of this thread.
pub struct EmptyNamespaces;

impl Drop for EmptyNamespaces {
    fn drop(&mut self) {
        MADE.take().iter().for_each(empty);
    }
}

fn empty(namespace: &Value) {
    let keys = namespace.try_iter().into_iter().flatten();
    let keys: Vec<String> = keys.map(|key| key.to_string()).collect();
    let mut steps = Instructions::new("", "");
    for key in &keys {
        steps.add(Instruction::LoadConst(Value::from(())));
        steps.add(Instruction::LoadConst(namespace.clone()));
        steps.add(Instruction::SetAttr(key)); // the only way in
    }
    let (mut nothing, blocks) = (String::new(), BTreeMap::new());
    let mut out = make_string_output(&mut nothing);
    let (environment, none) = (Environment::empty(), AutoEscape::None);
    // It cannot fail: every step is an assignment to a namespace.
    let _ = eval(
        &environment,
        &steps,
        Value::UNDEFINED,
        &blocks,
        &mut out,
        none,
    );
}
