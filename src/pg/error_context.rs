//! The CONTEXT of an error of this server's: which function, index, trigger or line of COPY it came from. pgrx's own report of an error leaves it
//! out, so a callback keeps the text while the error is being built.

use pgrx::{pg_guard, pg_sys};
use std::cell::{Cell, RefCell};
use std::ffi::CStr;

thread_local! {
    /// Message and CONTEXT of the last error.
    static CONTEXT: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    /// Statements of ours that are running.
    static STATEMENTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Whether the callback is in place already, further out.
    static IS_KEPT: Cell<bool> = const { Cell::new(false) };
}

/// Called while an error is being built, after the callbacks of whatever runs further in.
#[pg_guard]
unsafe extern "C-unwind" fn keep(_argument: *mut core::ffi::c_void) {
    // SAFETY: runs inside errfinish, where CopyErrorData is allowed outside ErrorContext; the copy is freed at once.
    unsafe {
        let old = pg_sys::MemoryContextSwitchTo(pg_sys::TopMemoryContext);
        let data = pg_sys::CopyErrorData();
        let text = |text: *const core::ffi::c_char| CStr::from_ptr(text).to_string_lossy().into_owned();
        if (*data).elevel >= pgrx::PgLogLevel::ERROR as i32 && !(*data).context.is_null() && !(*data).message.is_null()
        {
            let context = STATEMENTS.with_borrow(|ours| without(text((*data).context), ours));
            CONTEXT.set(Some((text((*data).message), context)));
        }
        pg_sys::FreeErrorData(data);
        pg_sys::MemoryContextSwitchTo(old);
    }
}

/// Runs `f` with the callback in place.
pub(super) fn keeping<T>(f: impl FnOnce() -> T) -> T {
    struct Restore(*mut pg_sys::ErrorContextCallback);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: what was there when the callback below was put on top of it; its owner is further out and still running.
            unsafe { pg_sys::error_context_stack = self.0 };
            IS_KEPT.set(false);
        }
    }
    CONTEXT.set(None);
    if IS_KEPT.get() {
        return f();
    }
    // SAFETY: reads the head of the stack, to push onto it.
    let previous = unsafe { pg_sys::error_context_stack };
    let mut callback = pg_sys::ErrorContextCallback {
        previous,
        callback: Some(keep),
        arg: std::ptr::null_mut(),
    };
    let _restore = Restore(previous);
    IS_KEPT.set(true);
    // SAFETY: `callback` lives until the stack is put back, on every way out.
    unsafe { pg_sys::error_context_stack = &mut callback };
    f()
}

/// Runs `f`, a statement of ours, which an error within it does not have to quote.
pub(super) fn within_statement<T>(sql: &str, f: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            STATEMENTS.with_borrow_mut(|statements| statements.pop());
        }
    }
    STATEMENTS.with_borrow_mut(|statements| statements.push(sql.to_owned()));
    let _leave = Leave;
    f()
}

/// The CONTEXT of the error with this message, if that was the last one and has one.
pub(super) fn of(message: &str) -> Option<String> {
    let (of, context) = CONTEXT.take()?;
    (of == message && !context.is_empty()).then_some(context)
}

/// `context` without the lines that quote one of these statements.
fn without(mut context: String, statements: &[String]) -> String {
    for statement in statements {
        if let Some(at) = context.rfind(statement.as_str()) {
            let start = context[..at].rfind('\n').map_or(0, |line_end| line_end + 1);
            let end = at + statement.len();
            let end = context[end..]
                .find('\n')
                .map_or(context.len(), |line_end| end + line_end + 1);
            context.replace_range(start..end, "");
        }
    }
    context.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_of_ours_is_no_part_of_the_context() {
        let context = "PL/pgSQL function f(text) line 1 at RETURN\nSQL statement \"CREATE TABLE a\n(b int)\"";
        let ours = ["CREATE TABLE a\n(b int)".to_owned()];
        assert_eq!(
            without(context.to_owned(), &ours),
            "PL/pgSQL function f(text) line 1 at RETURN"
        );
        assert_eq!(
            without(
                "SQL statement \"SELECT 1\"\nCOPY t, line 1".to_owned(),
                &["SELECT 1".to_owned()]
            ),
            "COPY t, line 1"
        );
        assert_eq!(without(context.to_owned(), &[]), context);
    }
}
