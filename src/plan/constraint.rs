//! Text of constraints, as the server deparses them (ruleutils.c): those of partitions, and CHECK.

/// The call that stands for one level of HASH partitioning (partbounds.c, get_qual_for_hash), without and with quote_all_identifiers.
const HASH_CALLS: [&str; 2] = ["satisfies_hash_partition(", "\"satisfies_hash_partition\"("];

/// Takes HASH out of a constraint: `true` stands where the call was, which names this server's table and cannot be asked of another. Also
/// tells whether there was one; its rows must then be told apart here.
pub fn without_hash(constraint: &str) -> (String, bool) {
    let mut text = String::with_capacity(constraint.len());
    let mut found = false;
    let mut rest = constraint;
    let mut is_closed = true;
    while let Some(c) = rest.chars().next() {
        if let Some(arguments) = HASH_CALLS.iter().find_map(|call| rest.strip_prefix(call))
            && is_closed
        {
            let after = after_parenthesis(arguments);
            // One that is not closed is no text of a server's; looking for its end once is enough.
            is_closed = after.is_some();
            if let Some(after) = after {
                text.push_str("true");
                found = true;
                rest = after;
                continue;
            }
        }
        let length = quoted_length(rest).unwrap_or(c.len_utf8());
        text.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    (text, found)
}

/// Length of the literal or quoted identifier `text` begins with. Both double their quote; a literal with a backslash is written E'…' and
/// escapes it by another.
fn quoted_length(text: &str) -> Option<usize> {
    let (prefix, escapes) = if text.starts_with("E'") { (1, true) } else { (0, false) };
    let quote = text[prefix..].chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let mut chars = text[prefix + 1..].char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote && chars.next_if(|&(_, next)| next == quote).is_none() {
            return Some(prefix + 1 + at + 1);
        }
    }
    None
}

/// What follows the parenthesis that is open where `text` begins.
fn after_parenthesis(mut text: &str) -> Option<&str> {
    let mut open = 1;
    while let Some(c) = text.chars().next() {
        let length = quoted_length(text).unwrap_or(c.len_utf8());
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        text = &text[length..];
        if open == 0 {
            return Some(text);
        }
    }
    None
}

/// True when an expression cannot leave the parentheses it is put into: quotes and parentheses are closed, and outside of quotes there is
/// neither a semicolon, a comment, a backslash nor a dollar quote. Only quotes that mean the same wherever they stand are let pass, with
/// standard_conforming_strings on: none with a prefix (E'', U&"").
pub fn is_enclosed(expression: &str) -> bool {
    let mut open = 0i32;
    let mut before = ' ';
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match c {
            '\'' | '"' => {
                if before.is_alphanumeric() || matches!(before, '_' | '&' | '\'' | '"') || !before.is_ascii() {
                    return false;
                }
                // A doubled quote is one inside.
                loop {
                    match chars.next() {
                        Some(q) if q == c => {
                            if chars.next_if_eq(&c).is_none() {
                                break;
                            }
                        }
                        Some('\0') | None => return false,
                        Some(_) => {}
                    }
                }
            }
            '(' => open += 1,
            ')' if open == 0 => return false,
            ')' => open -= 1,
            ';' | '\\' | '$' | '\0' => return false,
            '-' if next == Some('-') => return false,
            '/' if next == Some('*') => return false,
            '*' if next == Some('/') => return false,
            _ => {}
        }
        before = c;
    }
    open == 0 && !expression.trim().is_empty()
}

/// The schema, or whatever stands before a dot, by which an expression names something that is not in pg_catalog. None where it names
/// nothing with a schema, or only what is there. To be asked of one that [`is_enclosed`].
pub fn foreign_schema(expression: &str) -> Option<&str> {
    let mut rest = expression;
    let mut before = "";
    while let Some(token) = token(rest) {
        if token == "." && !matches!(before, "pg_catalog" | "\"pg_catalog\"") {
            return Some(before);
        }
        if !token.starts_with(is_space) {
            before = token;
        }
        rest = &rest[token.len()..];
    }
    None
}

/// The literal, name, number, space or single character that `text` begins with.
fn token(text: &str) -> Option<&str> {
    let first = text.chars().next()?;
    let while_in = |is: &dyn Fn(char) -> bool| text.find(|c| !is(c)).unwrap_or(text.len());
    let is_name = |c: char| c == '_' || c.is_alphanumeric() || !c.is_ascii();
    let has_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let length = match first {
        '\'' | '"' => quoted_length(text).unwrap_or(text.len()),
        c if is_space(c) => while_in(&is_space),
        c if c.is_ascii_digit() || (c == '.' && has_digit(&text[1..])) => while_in(&|c| c == '.' || c.is_ascii_digit()),
        c if is_name(c) => while_in(&is_name),
        c => c.len_utf8(),
    };
    Some(&text[..length])
}

/// Bytes of a name (NAMEDATALEN).
const LONGEST_NAME: usize = 63;

/// White space, as the server's scanner has it (scan.l).
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// True when an expression names something `name`, a column or a table as far as this can tell.
pub fn mentions(expression: &str, name: &str) -> bool {
    let mut rest = expression;
    while let Some(token) = token(rest) {
        let is_it = match token.strip_prefix('"') {
            Some(quoted) => quoted
                .strip_suffix('"')
                .is_some_and(|inner| inner.replace("\"\"", "\"") == name),
            None => token.to_ascii_lowercase() == name || token.to_lowercase() == name,
        };
        // The server cuts what is longer, and it may then be the name.
        let is_it = is_it || (token.len() > LONGEST_NAME && !token.starts_with('\''));
        if is_it {
            return true;
        }
        rest = &rest[token.len()..];
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{foreign_schema, is_enclosed, mentions, without_hash};

    #[test]
    fn a_schema_that_is_not_built_in_is_found_however_it_is_written() {
        for text in [
            "(a > 1.5)",
            "(a > .5) AND (b < 1.)",
            "((a)::numeric(10,2) = 10.25)",
            "(s <> 'm.f(x)'::text)",
            "(\"m.f\" > 0)",
            "(a OPERATOR(pg_catalog.=) 1)",
            "(pg_catalog.lower(s) = 'x'::text)",
            "(\"pg_catalog\".lower(s) = 'x'::\"pg_catalog\" . text)",
            "(at > '2017-01-01 00:00:00'::timestamp without time zone)",
            "(x1 > 5.)",
        ] {
            assert_eq!(foreign_schema(text), None, "{text}");
        }
        for (text, schema) in [
            ("m.f(x)", "m"),
            ("(x = '1'::m.evil)", "m"),
            ("(x = '1'::m .evil)", "m"),
            ("(x = '1'::m\n. evil)", "m"),
            ("(x = \"m\".\"evil\" '1')", "\"m\""),
            ("m1.f(x)", "m1"),
            ("(x OPERATOR(m.=) 1)", "m"),
            ("(x COLLATE m.c > 'a')", "m"),
            ("((c).x = '1')", ")"),
            ("pg_catalog.x.y", "x"),
            ("(1 = ü.f())", "ü"),
            ("(PG_CATALOG.f())", "PG_CATALOG"),
            ("(\"\"\"m\".f())", "\"\"\"m\""),
            ("(pg_catalog m.f())", "m"),
            ("('pg_catalog'.f())", "'pg_catalog'"),
            ("(pg_catalog.m\u{a0}.f())", "m\u{a0}"),
            ("(pg_catalog \u{a0}.f())", "\u{a0}"),
        ] {
            assert_eq!(foreign_schema(text), Some(schema), "{text}");
        }
    }

    #[test]
    fn a_column_is_mentioned_in_whatever_way_it_is_written() {
        for (text, name) in [("(A > 0)", "a"), ("(\"a\"\"b\" > 0)", "a\"b"), ("t IS NOT NULL", "t")] {
            assert!(mentions(text, name), "{text} {name}");
        }
        for text in ["(b > 0)", "(aa > 0)", "('a'::text = b)", "(\"A\" > 0)"] {
            assert!(!mentions(text, "a"), "{text}");
        }
    }

    #[test]
    fn the_hash_call_is_replaced_and_the_rest_is_kept() {
        let (text, found) = without_hash(
            "((d IS NOT NULL) AND (d >= '2017-01-01'::date) AND satisfies_hash_partition('16400'::oid, 4, 0, lower(\"a)b\")))",
        );
        assert_eq!(text, "((d IS NOT NULL) AND (d >= '2017-01-01'::date) AND true)");
        assert!(found);
        let (text, found) = without_hash("\"satisfies_hash_partition\"('1'::oid, 4, 0, id, (a || ')'::text))");
        assert_eq!((text.as_str(), found), ("true", true));
    }

    #[test]
    fn a_value_that_looks_like_the_call_is_a_value() {
        for constraint in [
            "(k = 'satisfies_hash_partition(1)'::text)",
            "(k = 'it''s satisfies_hash_partition(1)'::text)",
            "(k = E'\\\\'' satisfies_hash_partition(1)'::text)",
            "(\"satisfies_hash_partition(\" > 1)",
            "((k >= 10) AND (k < 20))",
        ] {
            assert_eq!(without_hash(constraint), (constraint.to_owned(), false));
        }
    }

    #[test]
    fn an_expression_stays_within_its_parentheses_or_is_refused() {
        for text in [
            "(a > 0)",
            "((\"a)b\" <> ')'::text) AND (note ~ '^\\d+;--$'::text))",
            "(a = ANY (ARRAY['x'::text, 'it''s'::text]))",
            "(public.\"T\".a IS NOT NULL)",
            "((a - '-1'::integer) > 0)",
        ] {
            assert!(is_enclosed(text), "{text}");
        }
        for text in [
            "",
            "true) ; DROP TABLE x; --",
            "true), ADD COLUMN b int CHECK (true",
            "(a > 0",
            "a > 0)",
            "a > 0; SELECT 1",
            "a > 0 -- (",
            "a > 0 /* ( */",
            "$$'$$ = a) ; DROP TABLE x; SELECT ('",
            "a = E'\\'' ) ; DROP TABLE x; --'",
            "a = e'\\'' ) ; DROP TABLE x; --'",
            "abE'\\' ) ; DROP TABLE x; --'",
            "a = U&'\\0027'",
            "U&\"d!0061\" UESCAPE '!' > 0",
            "a = 'x",
            "\"a > 0",
            "a \\ b",
        ] {
            assert!(!is_enclosed(text), "{text}");
        }
    }
}
