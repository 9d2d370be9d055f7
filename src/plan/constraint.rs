//! Text of partition constraints, as pg_get_partition_constraintdef deparses them (ruleutils.c).

/// The call that stands for one level of HASH partitioning (partbounds.c, get_qual_for_hash), without and with quote_all_identifiers.
const HASH_CALLS: [&str; 2] = ["satisfies_hash_partition(", "\"satisfies_hash_partition\"("];

/// Takes HASH out of a constraint: `true` stands where the call was, which names this server's table and cannot be asked of another. Also
/// tells whether there was one; its rows must then be told apart here.
pub fn without_hash(constraint: &str) -> (String, bool) {
    let mut text = String::with_capacity(constraint.len());
    let mut found = false;
    let mut rest = constraint;
    while let Some(c) = rest.chars().next() {
        if let Some(arguments) = HASH_CALLS.iter().find_map(|call| rest.strip_prefix(call))
            && let Some(after) = after_parenthesis(arguments)
        {
            text.push_str("true");
            found = true;
            rest = after;
            continue;
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

#[cfg(test)]
mod tests {
    use super::without_hash;

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
}
