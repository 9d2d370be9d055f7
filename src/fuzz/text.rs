//! Text: bounds, constants, constraints, names, options, config.json.

use super::{fuzz, lex, soup, value};
use crate::config::{self, Here};
use crate::error::{Error, Side, is_error_code, tame};
use crate::plan::bound::{Bound, End};
use crate::plan::constant::{constants, is_constant, is_literal};
use crate::plan::constraint::{foreign_schema, is_enclosed, mentions, without_hash};
use crate::plan::copy_sql::{display_name, quote_ident, quote_literal, quote_qualified, split_name};
use crate::plan::key::KeyColumn;
use crate::plan::region::Cell;
use crate::plan::sketch::column;
use crate::plan::space::{Asked, Space};
use crate::plan::tree::{Level, Node, Ranks, Strategy as By};
use crate::wire::endpoint::{Endpoint, Place, validate};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::time::Duration;

const OF_BOUNDS: &[&str] = &[
    "FOR VALUES ",
    "FROM (",
    " TO (",
    "IN (",
    "WITH (modulus ",
    ", remainder ",
    "DEFAULT",
    "MINVALUE",
    "MAXVALUE",
    "NULL",
    ", ",
    ")",
    "'a'",
    "'it''s'",
    "7",
    "-1.5",
    "now()",
    "pg_sleep(9)",
    "4294967296",
];

/// A bound as the server prints it (ruleutils.c).
fn printed(bound: &Bound) -> String {
    let quoted = |text: &String| format!("'{}'", text.replace('\'', "''"));
    let end = |end: &End| match end {
        End::Min => "MINVALUE".to_owned(),
        End::Max => "MAXVALUE".to_owned(),
        End::Value(text) => quoted(text),
    };
    let ends = |ends: &[End]| ends.iter().map(end).collect::<Vec<_>>().join(", ");
    let item = |item: &Option<String>| item.as_ref().map_or("NULL".to_owned(), quoted);
    match bound {
        Bound::Default => "DEFAULT".to_owned(),
        Bound::Range(from, to) => format!("FOR VALUES FROM ({}) TO ({})", ends(from), ends(to)),
        Bound::List(values) => format!(
            "FOR VALUES IN ({})",
            values.iter().map(item).collect::<Vec<_>>().join(", ")
        ),
        Bound::Hash(modulus, remainder) => format!("FOR VALUES WITH (modulus {modulus}, remainder {remainder})"),
    }
}

fn bound() -> impl Strategy<Value = Bound> {
    let end = || prop_oneof![1 => Just(End::Min), 1 => Just(End::Max), 4 => value().prop_map(End::Value)];
    let ends = move || prop::collection::vec(end(), 1..4);
    prop_oneof![
        Just(Bound::Default),
        (ends(), ends()).prop_map(|(from, to)| Bound::Range(from, to)),
        prop::collection::vec(prop::option::of(value()), 1..5).prop_map(Bound::List),
        any::<(u32, u32)>().prop_map(|(modulus, remainder)| Bound::Hash(modulus, remainder)),
    ]
}

/// What remains of SQL of ours without its quoted parts is words of ours.
fn is_ours(sql: &str, values: usize) -> bool {
    let words = "FOR VALUES FROM TO IN WITH MODULUS REMAINDER DEFAULT MINVALUE MAXVALUE NULL AND OR IS NOT true false E # E# CAST AS int4";
    let is_word = |word: &str| words.split(' ').any(|ours| ours == word) || word.bytes().all(|b| b.is_ascii_digit());
    lex(sql).is_some_and(|(rest, quoted)| {
        quoted.len() <= values
            && rest
                .split([' ', ',', '(', ')', '<', '>', '='])
                .all(|word| word.is_empty() || is_word(word))
    })
}

/// The condition on the rows of a partition with this bound.
fn condition(bound: &Bound, columns: &[KeyColumn]) -> String {
    let mut ranks = Ranks::default();
    let ends = |ends: &[End]| -> Vec<String> {
        let value = |end: &End| match end {
            End::Value(value) => Some(value.clone()),
            _ => None,
        };
        ends.iter().filter_map(value).collect()
    };
    let values: BTreeSet<String> = match bound {
        Bound::Range(from, to) => ends(from).into_iter().chain(ends(to)).collect(),
        Bound::List(values) => values.iter().flatten().cloned().collect(),
        _ => BTreeSet::new(),
    };
    for (rank, value) in values.into_iter().enumerate() {
        ranks.insert("int4", value, rank as i64);
    }
    let node = |bound, level| Node {
        table: (),
        bound,
        level,
    };
    let strategy = match bound {
        Bound::List(_) => By::List,
        Bound::Hash(..) => By::Hash,
        _ => By::Range,
    };
    let level = Level {
        strategy,
        columns: columns.to_vec(),
        plain: true,
        children: vec![node(Some(bound.clone()), None)],
    };
    let root = node(None, Some(level));
    let space = Space::new(&root, &root, &ranks);
    let mut leaves = Vec::new();
    space
        .leaves(&root, vec![Cell::default()], &mut leaves)
        .expect("values that have been ranked");
    space.condition(&leaves[0].1, Asked::There).0
}

#[test]
fn bounds_read_as_they_print_and_execute_nothing() {
    fuzz("bound, as printed", bound(), |bound| {
        let text = printed(&bound);
        prop_assert_eq!(Bound::parse(&text).ok(), Some(bound.clone()), "{}", text);
        prop_assert!(is_ours(&bound.to_sql(), 8), "{}", bound.to_sql());
        let condition = condition(&bound, &["a", "b\"; --", "c'"].map(column));
        prop_assert!(is_ours(&condition, 64), "{condition}");
        Ok(())
    });
    fuzz("bound, any text", soup(OF_BOUNDS), |text| {
        let Ok(bound) = Bound::parse(&text) else { return Ok(()) };
        prop_assert!(is_ours(&bound.to_sql(), text.len()), "{}", bound.to_sql());
        prop_assert!(bound.to_sql().len() <= 4 * text.len() + 40);
        let condition = condition(&bound, &[column("k")]);
        prop_assert!(is_ours(&condition, 4 * text.len() + 8), "{condition}");
        // What it is does not change when it is printed and read once more.
        prop_assert_eq!(Bound::parse(&printed(&bound)).ok(), Some(bound));
        Ok(())
    });
}

const OF_CONSTANTS: &[&str] = &[
    "'2016-01-01'",
    "::date",
    "::character varying(64)",
    "::\"Odd\".\"Type\"",
    "::numeric(12,2)",
    "::timestamp(3) without time zone",
    "::text[]",
    "(",
    ")",
    "((",
    "-1",
    "2.50",
    "1e10",
    "NULL",
    "true",
    ", ",
    "now()",
    "nextval(",
    "||",
    "; DROP TABLE x",
    "--",
    "/*",
    "::",
    "E'\\''",
    "$$",
];

/// One constant with casts can be no call, no statement and no comment.
fn is_harmless(text: &str) -> bool {
    let Some((rest, _)) = lex(text) else { return false };
    let no_call = rest.match_indices('(').all(|(at, _)| {
        let is_after_name = rest[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '#'));
        let inner = rest[at + 1..].split(')').next().unwrap_or("");
        !is_after_name
            || inner
                .chars()
                .all(|c| c.is_ascii_digit() || matches!(c, ',' | ' ' | '-'))
    });
    let is_part = |c: char| c.is_alphanumeric() || "_#(),:. []+-".contains(c);
    no_call
        && rest.chars().all(is_part)
        && !rest.contains("--")
        && rest.matches('(').count() == rest.matches(')').count()
}

#[test]
fn only_constants_are_constants() {
    fuzz("constant", soup(OF_CONSTANTS), |text| {
        if is_constant(&text) {
            prop_assert!(is_harmless(&text), "{text}");
            prop_assert_eq!(constants(&text), Some(vec![text.as_str()]));
        } else {
            prop_assert!(!is_literal(&text));
        }
        if let Some(list) = constants(&text) {
            prop_assert!(list.iter().all(|one| is_constant(one) && is_harmless(one)));
            prop_assert!(list.iter().map(|one| one.len()).sum::<usize>() <= text.len());
        }
        Ok(())
    });
    let casts = prop::collection::vec(prop::sample::select(&OF_CONSTANTS[1..7]), 0..3).prop_map(|casts| casts.concat());
    fuzz(
        "constant, as printed",
        (value(), casts, 0usize..9),
        |(value, casts, depth)| {
            let quoted = format!("'{}'{casts}", value.replace('\'', "''"));
            let text = format!("{}{quoted}{}", "(".repeat(depth), ")".repeat(depth));
            prop_assert!(is_constant(&text), "{text}");
            let list = format!("{text}, {text}");
            prop_assert_eq!(constants(&list), Some(vec![text.as_str(); 2]));
            Ok(())
        },
    );
}

const OF_CONSTRAINTS: &[&str] = &[
    "satisfies_hash_partition(",
    "\"satisfies_hash_partition\"(",
    "'16400'::oid, 4, 0, id",
    "(d >= '2017-01-01'::date)",
    " AND ",
    "(",
    ")",
    "'it''s'",
    "E'\\\\''",
    "e'\\'",
    "U&'\\0027'",
    "\"a\"\"b\"",
    "true), ADD COLUMN b int CHECK (true",
    "; DROP TABLE x; ",
    "--",
    "/*",
    "*/",
    "$$",
    "$a$",
    "a = b",
    "lower(x)",
    "\\",
];

#[test]
fn an_enclosed_expression_ends_where_its_parentheses_do() {
    fuzz("constraint", soup(OF_CONSTRAINTS), |text| {
        if is_enclosed(&text) {
            let (rest, _) = lex(&text).ok_or_else(|| TestCaseError::fail(text.clone()))?;
            let mut open = 0i64;
            for c in rest.chars() {
                open += i64::from(c == '(') - i64::from(c == ')');
                prop_assert!(open >= 0, "{text}");
            }
            prop_assert_eq!(open, 0, "{}", text);
            for bad in [";", "--", "/*", "*/", "\\", "$", "\0", "E#", "e#", "&#"] {
                prop_assert!(!rest.contains(bad), "{bad} in {text}");
            }
        }
        let (without, found) = without_hash(&text);
        prop_assert!(without.len() <= text.len());
        prop_assert!(found || without == text);
        Ok(())
    });
}

/// Parts of expressions, and whether they name what is not built in.
const NAMES: &[(&str, bool)] = &[
    ("a", false),
    ("1.5", false),
    (".5", false),
    ("'m.f(x)'", false),
    ("'it''s m.f'::text", false),
    ("\"m.f\"", false),
    ("\"a\"\"b\"", false),
    ("pg_catalog.lower(a)", false),
    ("\"pg_catalog\" . int4", false),
    ("OPERATOR(pg_catalog.=)", false),
    ("(", false),
    (")", false),
    ("=", false),
    ("::", false),
    ("m.f(a)", true),
    ("m\n.\tf(a)", true),
    ("\"m\".f(a)", true),
    ("'1'::m.t", true),
    ("pg_catalog.x.y", true),
    ("(a).b", true),
    ("ü.f", true),
    ("OPERATOR(m.=)", true),
];

#[test]
fn what_is_not_built_in_is_found_wherever_it_stands() {
    let part = prop::sample::select(NAMES);
    let space = prop::sample::select(&[" ", "\n", "\t  "][..]);
    let parts = prop::collection::vec((part, space), 0..12);
    fuzz("foreign names", (parts, soup(OF_CONSTRAINTS)), |(parts, text)| {
        let expression: String = parts
            .iter()
            .map(|((part, _), space)| format!("{part}{space}"))
            .collect();
        let is_foreign = parts.iter().any(|((_, is_foreign), _)| *is_foreign);
        prop_assert_eq!(foreign_schema(&expression).is_some(), is_foreign, "{}", expression);
        let has_column = parts.iter().any(|((part, _), _)| part.contains("\"a\"\"b\""));
        prop_assert_eq!(mentions(&expression, "a\"b"), has_column, "{}", expression);
        // Whatever it is, it ends, and a dot that is left is a number's or pg_catalog's.
        if let (true, None) = (is_enclosed(&text), foreign_schema(&text)) {
            let (rest, _) = lex(&text).ok_or_else(|| TestCaseError::fail(text.clone()))?;
            for (at, _) in rest.match_indices('.') {
                let before = rest[..at].trim_end();
                let is_number = before.ends_with(|c: char| c.is_ascii_digit())
                    || rest[at + 1..].starts_with(|c: char| c.is_ascii_digit() || c == '.');
                prop_assert!(
                    is_number || before.ends_with("pg_catalog") || before.ends_with('#') || before.ends_with('.'),
                    "{text}"
                );
            }
        }
        Ok(())
    });
}

#[test]
fn names_and_literals_come_back_as_they_were() {
    fuzz(
        "names",
        (value(), value(), soup(&["a.b", "\"", "\"\"", ".", "public", " "])),
        |(schema, name, text)| {
            let quoted = quote_qualified(&schema, &name);
            prop_assert_eq!(split_name(&quoted), Some((Some(schema.clone()), name.clone())));
            let shown = split_name(&display_name(&quoted));
            prop_assert_eq!(
                shown,
                Some(((schema != "public").then_some(schema.clone()), name.clone()))
            );
            for (sql, value) in [(quote_ident(&name), &name), (quote_literal(&schema), &schema)] {
                let (rest, quoted) = lex(&sql).ok_or_else(|| TestCaseError::fail(sql.clone()))?;
                prop_assert!(["#", " E#"].contains(&rest.as_str()), "{sql}");
                prop_assert_eq!(quoted, vec![value.clone()]);
            }
            if let Some((schema, name)) = split_name(&text) {
                prop_assert!(schema.map_or(0, |schema| schema.len()) + name.len() <= text.len() && !name.is_empty());
            }
            let _ = display_name(&text);
            Ok(())
        },
    );
}

/// Something that an error must not give away.
const SECRET: &str = "hunter2";

fn shows_secret(error: &Error) -> bool {
    format!("{error:?}").contains(SECRET)
}

#[test]
fn options_are_taken_or_refused_without_a_word_of_their_values() {
    let name = prop_oneof![
        4 => prop::sample::select(&["host", "hostaddr", "port", "dbname", "sslmode", "connect_timeout", "keepalives", "keepalives_idle",
            "keepalives_interval", "keepalives_count", "tcp_user_timeout", "user", "password", "fetch_size", "sslrootcert"][..])
            .prop_map(str::to_owned),
        1 => value(),
    ];
    let value = prop_oneof![
        "[0-9+-]{0,12}",
        prop::sample::select(&["disable", "require", "0", "1", "2147483647", "65535", "\0", "/tmp"][..])
            .prop_map(str::to_owned),
        value(),
    ];
    let options = || prop::collection::vec((name.clone(), value.clone()), 0..6);
    let both = (options(), options());
    fuzz("options", both, |(server, mapping)| {
        let secret = |list: &[(String, String)]| -> Vec<_> {
            list.iter().map(|(n, v)| (n.clone(), format!("{v}{SECRET}"))).collect()
        };
        for (server, mapping) in [(server.clone(), mapping.clone()), (secret(&server), secret(&mapping))] {
            match Endpoint::from_options("src", Side::Source, &server, &mapping, "me", Duration::from_secs(10)) {
                Ok(target) => prop_assert!(target.host.port > 0 && target.connect_timeout > Duration::ZERO),
                Err(error) => prop_assert!(!shows_secret(&error) && is_error_code(&error.sqlstate)),
            }
            for (name, value) in &server {
                for place in [Place::Server, Place::UserMapping] {
                    let hidden = validate(name, value, place)
                        .err()
                        .is_none_or(|error| !shows_secret(&error));
                    prop_assert!(hidden || name.contains(SECRET));
                }
            }
        }
        Ok(())
    });
}

const OF_JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "[[[[",
    "{\"a\":",
    ",",
    ":",
    "\"host\": \"hunter2\"",
    "\"port\": 5432",
    "\"port\": \"hunter2\"",
    "\"dbname\": \"hunter2\"",
    "\"user\": \"hunter2\"",
    "\"password\": \"hunter2\"",
    "\"password\": [\"hunter2\"]",
    "\"destination_host\": \"hunter2\"",
    "\"Jobs\": 4",
    "null",
    "1e999",
    "\\u0000",
];

#[test]
fn a_config_is_read_or_refused_and_never_quoted() {
    let here = || Here {
        dbname: "d".to_owned(),
        user: "u".to_owned(),
        port: "5432".to_owned(),
    };
    let fields =
        prop::sample::subsequence(&OF_JSON[7..16], 0..9).prop_map(|fields| format!("{{{}}}", fields.join(", ")));
    let text = prop_oneof![soup(OF_JSON), fields];
    fuzz("config.json", text, move |text| {
        match config::parse(&text) {
            Ok(config) => {
                let remarks = [config.remarks(), config.remarks_on_destination(&here(), |_| false)].concat();
                let size: usize = remarks.iter().map(String::len).sum();
                prop_assert!(size <= 2 * text.len() + 1000);
                prop_assert!(config.source.port > 0 && !config.source.host.is_empty());
            }
            Err(error) => prop_assert!(!shows_secret(&error) && is_error_code(&error.sqlstate)),
        }
        Ok(())
    });
}

#[test]
fn messages_are_short_and_tame() {
    fuzz(
        "messages",
        soup(&["\x1b[31m", "\r", "\n", "\u{9b}", "\u{202e}", "ü", "long "]),
        |text| {
            let told = tame(&text);
            prop_assert!(told.len() <= 1027 && !told.contains(char::is_control));
            let error = Error::internal(&text).detail(&text).hint(&text).bounded();
            for field in [Some(&error.message), error.detail.as_ref(), error.hint.as_ref()]
                .into_iter()
                .flatten()
            {
                prop_assert!(field.len() <= 16 * 1024 + 3 && !field.contains(|c: char| c.is_control() && c != '\n'));
            }
            Ok(())
        },
    );
}
