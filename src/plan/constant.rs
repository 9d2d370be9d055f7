//! Constants as Greenplum 5 and 6 print partition bounds: `'2016-01-01'::date`, `'-10000000000'::bigint`, `2.50::numeric(12,2)`, `0`,
//! `NULL::text`. The source evaluates them, never this server; and even there only what has this form is sent back to be evaluated, so that a
//! bound cannot become a call of anything.

use super::bound::unquote;

/// Most parentheses around a constant: text of the source's must not decide how deep the stack gets here.
const DEEPEST: usize = 16;

/// True when `text` is one constant with any casts.
pub fn is_constant(text: &str) -> bool {
    constant(text, 0) == Some("")
}

/// True when `text` is a constant that its type has read already: a string under several casts may be one that the outer type reads anew each
/// time, such as `('now'::text)::date`.
pub fn is_literal(text: &str) -> bool {
    let casts = |rest: &str| rest.matches("::").count();
    is_constant(text)
        && !(text.starts_with('(') && text.contains('\''))
        && value(text, 0).is_some_and(|rest| casts(rest) <= 1)
}

/// Splits `'de'::text, 'fr'::text` into its constants. None when there is anything else in it.
pub fn constants(text: &str) -> Option<Vec<&str>> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        let after = constant(rest, 0)?;
        found.push(&rest[..rest.len() - after.len()]);
        match after.strip_prefix(',') {
            Some(next) => rest = next.trim_start(),
            None => return after.is_empty().then_some(found),
        }
    }
}

/// Reads a constant within `depth` parentheses and gives what follows it.
fn constant(text: &str, depth: usize) -> Option<&str> {
    let mut rest = value(text, depth)?;
    while let Some(cast) = rest.strip_prefix("::") {
        rest = type_name(cast)?;
    }
    Some(rest)
}

fn value(text: &str, depth: usize) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('\'') {
        return unquote(quoted).map(|(_, rest)| rest);
    }
    if let Some(inner) = text.strip_prefix('(') {
        return (depth < DEEPEST)
            .then(|| constant(inner, depth + 1))??
            .strip_prefix(')');
    }
    for word in ["NULL", "true", "false"] {
        if let Some(rest) = text.strip_prefix(word) {
            return (!rest.starts_with(is_name)).then_some(rest);
        }
    }
    number(text.strip_prefix(['-', '+']).unwrap_or(text))
}

/// Reads `12`, `2.50`, `.5` or `1e-10`.
fn number(text: &str) -> Option<&str> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut end = digits(text);
    if text[end..].starts_with('.') {
        end += 1 + digits(&text[end + 1..]);
    }
    if !text[..end].contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let signed = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
        let length = digits(signed);
        return (length > 0).then(|| &signed[length..]);
    }
    Some(&text[end..])
}

/// What may follow the first word of a built-in type's name.
const MORE_WORDS: &[&str] = &[
    "varying",
    "precision",
    "with time zone",
    "without time zone",
    "time zone",
    "zone",
];

/// A type as format_type prints it: words, a dot or quotes for one that is not built in, a modifier, `[]`.
fn type_name(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            rest = quoted.split_once('"')?.1;
        } else {
            let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            rest = &rest[end..];
        }
        if let Some(modifier) = rest.strip_prefix('(') {
            let (inner, after) = modifier.split_once(')')?;
            if !inner
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, ',' | ' ' | '-'))
            {
                return None;
            }
            rest = after;
        }
        match rest.strip_prefix('.') {
            Some(next) => rest = next,
            None => match rest
                .strip_prefix(' ')
                .filter(|next| MORE_WORDS.iter().any(|w| next.starts_with(w)))
            {
                Some(next) => rest = next,
                None => break,
            },
        }
    }
    Some(rest.strip_prefix("[]").unwrap_or(rest))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::{constants, is_constant, is_literal};

    #[test]
    fn what_greenplum_prints_is_a_constant() {
        for text in [
            "'2016-01-01'::date",
            "'20160101'::character varying(64)",
            "0",
            "-5",
            "'-10000000000'::bigint",
            "2.50::numeric(12,2)",
            "'2016-01-01 00:00:00+00'::timestamp with time zone",
            "'2016-01-01 00:00:00'::timestamp(3) without time zone",
            "'-1.5'::double precision",
            "1e10::double precision",
            "'a''b'::text",
            "('a'::character varying)::text",
            "NULL::text",
            "true",
            "'x'::\"Odd Schema\".\"My Type\"",
            "'{1,2}'::integer[]",
        ] {
            assert!(is_constant(text), "{text}");
        }
    }

    #[test]
    fn what_could_do_anything_is_not() {
        for text in [
            "",
            "now()",
            "'a'::text || 'b'::text",
            "0) FROM pg_authid; --",
            "'x'::text; DROP TABLE t",
            "(SELECT 1)",
            "nextval('s'::regclass)",
            "'x'::date + 1",
            "'x",
            "NULLIF(1, 2)",
            "1::numeric(pg_sleep(9))",
            "pg_sleep(9)",
            "'x'::text COLLATE \"C\"",
            "'x'::text OR true",
            &format!("{}1{}", "(".repeat(17), ")".repeat(17)),
            &"(".repeat(1_000_000),
        ] {
            assert!(!is_constant(text), "{text}");
        }
    }

    #[test]
    fn a_string_read_anew_each_time_is_no_literal() {
        for text in [
            "'2016-01-01'::date",
            "0",
            "(-1)",
            "'-1'::integer",
            "'a::b::c'::text",
            "true",
            "NULL::text",
        ] {
            assert!(is_literal(text), "{text}");
        }
        for text in [
            "('now'::text)::date",
            "'now'::text::date",
            "(('now'::text))::date",
            "now()",
            "CURRENT_DATE",
        ] {
            assert!(!is_literal(text), "{text}");
        }
    }

    #[test]
    fn a_list_splits_into_its_constants() {
        assert_eq!(
            constants("'de'::text, 'f,r'::text, NULL::text"),
            Some(vec!["'de'::text", "'f,r'::text", "NULL::text"])
        );
        assert_eq!(constants("1, 2"), Some(vec!["1", "2"]));
        assert_eq!(constants("1, now()"), None);
        assert_eq!(constants(""), None);
    }
}
