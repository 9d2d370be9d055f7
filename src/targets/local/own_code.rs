//! Functions of users that a unit's rows set off, and which find what they name by way of search_path. They run with
//! the role's own search_path, as in a COPY of the role's; an index that the role does not own, and on 17 and later
//! every index, is built without it. What cannot work is found with the source's first row, before anything is copied;
//! whatever fails says which function it was, what calls it, and how to mend it.

use super::effects::{SET_OFF, ask};
use super::facts::Needs;
use super::{Local, facts};
use crate::error::{Error, Result, Side, sqlstate};
use crate::pg::{backend, spi, xact};
use crate::plan::copy_sql::quote_ident;
use crate::source::Reader;
use crate::targets::loading::What;

/// Functions that a row sets off in unit $1, with what calls each: those of [`SET_OFF`], of indexes and of triggers.
/// Not those that the server was compiled with, nor those that bring a search_path, or have none to follow.
const CALLED: &str = "
    called(what, oid) AS (
      SELECT what, m[1]::oid FROM expression, regexp_matches(tree, ':(?:funcid|opfuncid) (\\d+)', 'g') AS m
      UNION SELECT 'index ' || i.indexrelid::regclass, m[1]::oid
      FROM pg_index i, regexp_matches(concat(i.indexprs, i.indpred), ':(?:funcid|opfuncid) (\\d+)', 'g') AS m
      WHERE i.indrelid = $1::oid AND i.indisready
      UNION SELECT 'index ' || i.indexrelid::regclass, s.amproc::oid
      FROM pg_index i CROSS JOIN unnest(i.indclass) AS c(oid) JOIN pg_opclass o ON o.oid = c.oid JOIN pg_amproc s ON s.amprocfamily = o.opcfamily
      WHERE i.indrelid = $1::oid AND i.indisready
      UNION SELECT 'the partition key of ' || k.partrelid::regclass, s.amproc::oid
      FROM pg_partitioned_table k CROSS JOIN unnest(k.partclass) AS c(oid) JOIN pg_opclass o ON o.oid = c.oid JOIN pg_amproc s ON s.amprocfamily = o.opcfamily
      WHERE k.partrelid IN (SELECT relid FROM pg_partition_ancestors($1::oid::regclass))
      UNION SELECT 'trigger ' || quote_ident(t.tgname), t.tgfoid FROM pg_trigger t
      WHERE t.tgrelid = $1::oid AND t.tgtype & 36 <> 0 AND t.tgenabled <> 'D' AND NOT t.tgisinternal),
    caller(what, signature, name, schema) AS (
      SELECT c.what, p.oid::regprocedure::text, p.proname, n.nspname
      FROM called c JOIN pg_proc p ON p.oid = c.oid JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
      WHERE l.lanname NOT IN ('internal', 'c') AND to_jsonb(p) ->> 'prosqlbody' IS NULL
        AND NOT EXISTS (SELECT FROM unnest(p.proconfig) AS s WHERE s LIKE 'search_path=%'))";

/// The search_path that indexes are built with, and their values gathered: what the owner's functions find is not for somebody else to say.
/// `is_own`: the role has the rights of the table's owner.
pub fn path_of_indexes(is_own: bool) -> String {
    // Later servers do both with a path of their own, whatever this is.
    match is_own && backend::VERSION < 170_000 {
        true => backend::path_of_role(),
        false => backend::PINNED_PATH.to_owned(),
    }
}

/// Runs what the unit's indexes evaluate for the source's first row. Everything else is evaluated for each row as it
/// comes, so that the first one tells.
pub fn try_indexes(local: &Local, what: &What<'_>, (unit, needs): (u32, &Needs), reader: &mut Reader) -> Result<()> {
    if !needs.has_index_code {
        return Ok(());
    }
    let sql = format!("{SET_OFF}, {CALLED} SELECT EXISTS (SELECT FROM caller WHERE what LIKE 'index %')");
    if !ask(local, what, unit, &sql)?.first().is_some_and(|row| row.is(0)) {
        return Ok(());
    }
    let expressions = facts::ask(
        "SELECT pg_get_expr(e.tree, i.indrelid) FROM pg_index i, LATERAL (VALUES (i.indexprs), (i.indpred)) AS e(tree)
         WHERE i.indrelid = $1::oid AND i.indisready AND e.tree IS NOT NULL",
        &[Some(&unit.to_string())],
    )?;
    let Some(row) = reader.first_row(what.portion, what.columns)? else {
        return Ok(());
    };
    let types = facts::ask(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped",
        &[Some(&unit.to_string())],
    )?;
    let mut columns = Vec::new();
    for column in &types {
        let (name, kind) = (column.string(0)?, column.string(1)?);
        let value = match what.columns.iter().position(|copied| *copied == name) {
            Some(at) => format!("${}::pg_catalog.text", at + 1),
            None => "NULL".to_owned(),
        };
        columns.push(format!("{value}::{kind} AS {}", quote_ident(&name)));
    }
    let arguments: Vec<Option<&str>> = row.iter().map(Option::as_deref).collect();
    let path = path_of_indexes(needs.is_own);
    for expression in &expressions {
        // One after the other: planning evaluates what it can.
        let sql = format!(
            "SELECT {} FROM (SELECT {}) AS unit",
            expression.string(0)?,
            columns.join(", ")
        );
        match xact::subtransaction(|| backend::with_path(&path, || spi::execute(&sql, &arguments))) {
            Err(error) if error.is_cancel() => return Err(error),
            Err(error) if is_not_found(&error) => {
                return Err(error.detail_first("The source's first row has shown it; nothing was copied yet."));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Something that is called by a name which search_path does not lead to.
fn is_not_found(error: &Error) -> bool {
    error.side == Side::Here && error.is_about_a_name()
}

/// The error of a load, with what to do if it is one of a function that does not find what it names. In a transaction, after the one that failed.
pub fn explain(local: &Local, what: &What<'_>, error: Error) -> Error {
    let Some(context) = error.detail.clone().filter(|_| is_not_found(&error)) else {
        return error;
    };
    match functions_in(local, what, &context) {
        Ok(functions) if !functions.is_empty() => advise(error, &functions),
        // The error as it is tells more than the one of a look at it.
        _ => error,
    }
}

/// A function that a row sets off.
struct Called {
    signature: String,
    schema: String,
    by: Vec<String>,
}

/// The functions that `context`, of an error, names.
fn functions_in(local: &Local, what: &What<'_>, context: &str) -> Result<Vec<Called>> {
    let sql = format!(
        "{SET_OFF}, {CALLED}
         SELECT signature, name, schema, string_agg(what, ', ' ORDER BY what) FROM caller GROUP BY 1, 2, 3 ORDER BY 1"
    );
    let mut functions = Vec::new();
    for row in ask(local, what, what.unit.oid()?, &sql)? {
        if names(context, &row.string(1)?) {
            functions.push(Called {
                signature: row.string(0)?,
                schema: row.string(2)?,
                by: row.string(3)?.split(", ").map(str::to_owned).collect(),
            });
        }
    }
    Ok(functions)
}

/// Whether `text` has `name` as a word.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part))
}

fn advise(error: Error, functions: &[Called]) -> Error {
    let list = |functions: &[Called]| {
        let one = |f: &Called| format!("{} is called by {}.", f.signature, f.by.join(" and "));
        functions.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    // Where the function has made an object, and no schema for it was there.
    let lacks_path = error.sqlstate == sqlstate::INVALID_SCHEMA_NAME && !error.message.contains('"');
    let found = match lacks_path {
        true => functions.iter().map(|called| called.schema.clone()).collect(),
        false => schemas_of(&error.message).unwrap_or_default(),
    };
    let signatures = functions.iter().map(|called| called.signature.as_str());
    if found.is_empty() {
        let signatures = signatures.collect::<Vec<_>>().join(", ");
        return error.detail_first(&list(functions)).hint(format!(
            "Nothing of that name is in this database: create it, or correct {signatures}."
        ));
    }
    let schemas: Vec<String> = found.iter().map(|schema| quote_ident(schema)).collect();
    let schemas = schemas.join(", ");
    let hints: Vec<String> = signatures
        .map(|signature| format!("ALTER FUNCTION {signature} SET search_path = {schemas}"))
        .collect();
    let hint = format!(
        "{}; with the schemas of all that it names, if there are more.",
        hints.join("; ")
    );
    error.detail_first(&list(functions)).hint(hint)
}

/// The schemas that have a function, or a relation or type, of a name that stands in `message`: before a parenthesis, or in quotes.
fn schemas_of(message: &str) -> Result<Vec<String>> {
    let rows = facts::ask(
        "SELECT DISTINCT n.nspname
         FROM (SELECT pronamespace, proname FROM pg_proc UNION ALL SELECT relnamespace, relname FROM pg_class
               UNION ALL SELECT typnamespace, typname FROM pg_type) AS o(namespace, name)
         JOIN pg_namespace n ON n.oid = o.namespace
         WHERE (position(' ' || o.name || '(' IN ' ' || $1) > 0 OR position('\"' || o.name || '\"' IN $1) > 0)
           AND n.nspname <> ALL ('{pg_catalog,information_schema,pg_toast}') AND n.nspname !~ '^pg_(toast_)?temp_' ORDER BY 1",
        &[Some(message)],
    )?;
    rows.iter().map(|row| row.string(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_as_a_word() {
        assert!(names("PL/pgSQL function public.fold(text) line 1 at RETURN", "fold"));
        assert!(names("SQL function \"fold\" statement 1", "fold"));
        assert!(!names("PL/pgSQL function unfold(text) line 1 at RETURN", "fold"));
        assert!(!names("PL/pgSQL function fold_2(text) line 1 at RETURN", "fold"));
    }
}
