//! The border to C++: cxx aborts the process when a panic reaches it, so none may get that far.
use anyhow::{anyhow, Result};
use std::any::Any;
use std::cell::Cell;
use std::panic::{catch_unwind, set_hook, take_hook, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; a panic in it becomes an error.  The body of every exported function stands in here.
pub fn guard<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    set_up();
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(outer);
    match result {
        Ok(result) => result.map_err(|e| anyhow!("{e:#}")),
        Err(panic) => Err(anyhow!("internal error: {}", panic_message(&*panic))),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown panic")
}

/// Once per process: panics that `guard` reports are not printed as well, others still are; and the
/// crates below start no threads of their own.
fn set_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tokenizers::utils::parallelism::set_parallelism(false);
        let others = take_hook();
        set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                others(info);
            }
        }));
    });
}
