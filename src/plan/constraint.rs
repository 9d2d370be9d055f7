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

#[cfg(test)]
mod tests {
    use super::{is_enclosed, without_hash};

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
