//! Functions of users that a unit's rows set off over there, and which find what they name by way of search_path: they
//! run with the remote role's own.

use crate::catalog::Database;
use crate::error::{Error, Result, Side};
use crate::plan::copy_sql::quote_ident;
use crate::wire::Session;

/// Runs `f`, statements that load rows or build indexes, with the role's own search_path in this transaction if
/// `wanted`: what cgpsync asks by itself has it pinned to pg_catalog, which stays in front.
pub fn with_roles_path<T>(session: &mut Session, wanted: bool, f: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
    if !wanted {
        return f(session);
    }
    let schemas: Vec<String> = session
        .server()
        .schemas
        .iter()
        .map(|schema| quote_ident(schema))
        .collect();
    let path: Vec<String> = std::iter::once("pg_catalog".to_owned()).chain(schemas).collect();
    session.batch(&format!("SET LOCAL search_path = {}", path.join(", ")))?;
    let value = f(session).map_err(explain)?;
    session.batch("SET LOCAL search_path = pg_catalog")?;
    Ok(value)
}

/// The server's error, with what to do if it is one of a function that does not find what it names.
fn explain(error: Error) -> Error {
    let context = error
        .detail
        .as_deref()
        .filter(|_| error.side == Side::Target && error.is_about_a_name());
    match context.and_then(signature) {
        Some(function) => {
            let hint =
                format!("Over there: ALTER FUNCTION {function} SET search_path = the schemas of all that it names.");
            error.hint(hint)
        }
        None => error,
    }
}

/// The function that a CONTEXT names first, with its arguments, whatever language the server speaks.
fn signature(context: &str) -> Option<String> {
    let mut from = 0;
    while let Some(at) = context[from..].find('(').map(|at| from + at) {
        let start = context[..at].rfind(char::is_whitespace).map_or(0, |space| space + 1);
        let end = at + context[at..].find(')')? + 1;
        if start < at
            && context[start..at]
                .chars()
                .all(|c| c.is_alphanumeric() || "_.$\"".contains(c))
        {
            return Some(context[start..end].to_owned());
        }
        from = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::sqlstate;

    #[test]
    fn the_function_of_a_context_is_found_in_any_language() {
        let english = "Remote SQLSTATE 42883. PL/pgSQL function lib.fold(text) line 1 at RETURN COPY t, line 1";
        let german = "PL/pgSQL-Funktion fold(character varying, integer) Zeile 1 bei RETURN";
        assert_eq!(signature(english).as_deref(), Some("lib.fold(text)"));
        assert_eq!(signature(german).as_deref(), Some("fold(character varying, integer)"));
        assert_eq!(signature("COPY t, line 1 (of 2)"), None);
        let error = Error {
            side: Side::Target,
            ..Error::new(sqlstate::UNDEFINED_FUNCTION, "m").detail(english)
        };
        assert!(
            explain(error)
                .hint
                .is_some_and(|hint| hint.contains("ALTER FUNCTION lib.fold(text)"))
        );
    }
}
