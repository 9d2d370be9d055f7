//! Text of the statements sent to the source, and quoting.

/// `name` as an identifier, always quoted: what is a keyword differs from server to server.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name`, quoted.
pub fn quote_qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quote_ident(schema), quote_ident(name))
}

/// A quoted, qualified name as people write it: without the schema `public`, and without quotes around what needs none.
pub fn display_name(quoted: &str) -> String {
    let is_plain = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
            && part
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let name = quoted.strip_prefix("\"public\".").unwrap_or(quoted);
    // Quotes and dots may be part of a name: only parts that are plain on their own lose their quotes.
    let parts = name.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match parts.map(|parts| parts.split("\".\"")) {
        Some(parts) if parts.clone().all(is_plain) => parts.collect::<Vec<_>>().join("."),
        _ => name.to_owned(),
    }
}

/// `value` as a string literal that reads the same whatever standard_conforming_strings says.
pub fn quote_literal(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    if doubled.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// The COPY that reads a unit. `columns` are expressions; `relation` is quoted; `filter` is an SQL condition over the source's columns, none for all rows.
/// A SELECT: `COPY name` of a partitioned table is an error on PostgreSQL and silently empty on Greenplum 6.
pub fn copy_out(columns: &[String], relation: &str, filter: Option<&str>, binary: bool) -> String {
    let filter = filter.map(|f| format!(" WHERE {f}")).unwrap_or_default();
    // The spelling from before 9.0, which every server still reads and Greenplum 5 needs.
    let format = if binary { " WITH BINARY" } else { "" };
    format!(
        "COPY (SELECT {} FROM {relation}{filter}) TO STDOUT{format}",
        columns.join(", ")
    )
}

/// The COPY that reads all of one table, which is known to be one.
pub fn copy_table_out(columns: &[String], table: &str, binary: bool) -> String {
    let columns: Vec<String> = columns.iter().map(|c| quote_ident(c)).collect();
    let format = if binary { " WITH BINARY" } else { "" };
    format!("COPY {table} ({}) TO STDOUT{format}", columns.join(", "))
}

/// The COPY that loads `table`, quoted: rows with `condition`, of all that come. `freeze`: the table was made or emptied in the same transaction,
/// and whoever has an older snapshot sees the rows as well.
pub fn copy_in(table: &str, columns: &[String], binary: bool, condition: Option<&str>, freeze: bool) -> String {
    let columns: Vec<String> = columns.iter().map(|c| quote_ident(c)).collect();
    let format = if binary { "FORMAT binary" } else { "FORMAT text" };
    let freeze = if freeze { ", FREEZE" } else { "" };
    let condition = condition.map(|c| format!(" WHERE {c}")).unwrap_or_default();
    format!(
        "COPY {table} ({}) FROM STDIN WITH ({format}{freeze}){condition}",
        columns.join(", ")
    )
}

/// Splits `table` or `schema.table`, with the server's rules: unquoted parts fold to lower case, quotes keep everything.
/// None when the text is neither.
pub fn split_name(text: &str) -> Option<(Option<String>, String)> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut at = 0;
            loop {
                let close = at + quoted[at..].find('"')?;
                name.push_str(&quoted[at..close]);
                at = close + 1;
                if !quoted[at..].starts_with('"') {
                    break;
                }
                name.push('"');
                at += 1;
            }
            part = name;
            rest = &quoted[at..];
        } else {
            let stop = rest.find('.').unwrap_or(rest.len());
            let plain = rest[..stop].trim();
            let plain_ok = plain.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$');
            if !plain_ok || plain.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            part = plain.to_ascii_lowercase();
            rest = &rest[stop..];
        }
        if part.is_empty() {
            return None;
        }
        parts.push(part);
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(next) => rest = next.trim_start(),
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    match (parts.pop(), parts.pop(), parts.pop()) {
        (Some(table), schema, None) => Some((schema, table)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_survive_hostile_content() {
        assert_eq!(quote_ident("a\"; DROP TABLE x; --"), "\"a\"\"; DROP TABLE x; --\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
    }

    #[test]
    fn names_are_shown_as_people_write_them() {
        assert_eq!(display_name("\"public\".\"persons_1\""), "persons_1");
        assert_eq!(display_name("\"dw\".\"persons\""), "dw.persons");
        assert_eq!(display_name("\"public\".\"Odd one\""), "\"Odd one\"");
        for name in ["\"a\".\"B\"", "\"\"\"x\"\"\"", "\"a\"\".\"\"b\"", "\"\""] {
            assert_eq!(display_name(name), name);
        }
    }

    #[test]
    fn a_unit_is_read_by_explicit_columns() {
        let columns = ["\"id\"".to_owned(), "CAST(\"Name\" AS text)".to_owned()];
        assert_eq!(
            copy_out(&columns, "\"public\".\"t\"", Some("(k >= 1)"), true),
            "COPY (SELECT \"id\", CAST(\"Name\" AS text) FROM \"public\".\"t\" WHERE (k >= 1)) TO STDOUT WITH BINARY"
        );
    }

    #[test]
    fn a_table_is_read_by_its_name() {
        let columns = ["id".to_owned(), "Name".to_owned()];
        assert_eq!(
            copy_table_out(&columns, "\"public\".\"t\"", true),
            "COPY \"public\".\"t\" (\"id\", \"Name\") TO STDOUT WITH BINARY"
        );
        assert_eq!(copy_table_out(&columns[..1], "t", false), "COPY t (\"id\") TO STDOUT");
    }

    #[test]
    fn a_unit_elsewhere_is_loaded_by_the_same_columns() {
        let columns = ["id".to_owned(), "Name".to_owned()];
        assert_eq!(
            copy_in("\"s\".\"t\"", &columns, true, None, true),
            "COPY \"s\".\"t\" (\"id\", \"Name\") FROM STDIN WITH (FORMAT binary, FREEZE)"
        );
        assert_eq!(
            copy_in("\"t\"", &columns[..1], false, Some("(id > 1)"), false),
            "COPY \"t\" (\"id\") FROM STDIN WITH (FORMAT text) WHERE (id > 1)"
        );
    }

    #[test]
    fn names_split_as_the_server_splits_them() {
        let both = |s: &str, t: &str| Some((Some(s.to_owned()), t.to_owned()));
        assert_eq!(split_name("Persons"), Some((None, "persons".into())));
        assert_eq!(split_name("dw.Persons"), both("dw", "persons"));
        assert_eq!(split_name("\"D.w\" . \"a\"\"b\""), both("D.w", "a\"b"));
        for text in ["", "a.b.c", "a b", "\"a", ".a", "a.", "1a", "a;b"] {
            assert_eq!(split_name(text), None, "{text}");
        }
    }
}
