//! The selection rule against PostgreSQL's own comparison: random bounds and points, every key type, one clause each.

use crate::plan::copy_sql::quote_literal;
use crate::plan::select::{Range, decide, ranking_query};
use crate::support::cluster::Cluster;
use crate::support::needs;
use postgres::{Client, SimpleQueryMessage};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::HashMap;

const ICU: &str = "\"und-x-icu\"";

/// Type, collation, and a strategy for values its input function reads.
fn types() -> Vec<(&'static str, Option<&'static str>, BoxedStrategy<String>)> {
    let day = (1990i32..2040, 1u32..13, 1u32..29).prop_map(|(y, m, d)| format!("{y}-{m:02}-{d:02}"));
    let time = (day.clone(), 0u32..24, 0u32..60).prop_map(|(d, h, m)| format!("{d} {h:02}:{m:02}:00"));
    let zoned = (time.clone(), -12i32..13).prop_map(|(t, z)| format!("{t}{z:+03}"));
    let text = "[ -~äéßŁ漢]{0,6}";
    vec![
        ("date", None, day.boxed()),
        ("timestamp", None, time.boxed()),
        ("timestamptz", None, zoned.boxed()),
        ("int2", None, any::<i16>().prop_map(|v| v.to_string()).boxed()),
        ("int4", None, (-50i32..50).prop_map(|v| v.to_string()).boxed()),
        ("int8", None, any::<i64>().prop_map(|v| v.to_string()).boxed()),
        (
            "numeric",
            None,
            (-999i32..999, 0u32..3).prop_map(|(v, e)| format!("{v}e-{e}")).boxed(),
        ),
        (
            "float8",
            None,
            (-99i32..99, -3i32..4).prop_map(|(v, e)| format!("{v}e{e}")).boxed(),
        ),
        ("text", Some("\"C\""), text.boxed()),
        ("text", Some(ICU), text.boxed()),
        ("varchar", Some("\"default\""), "20[0-2][0-9]01".boxed()),
        ("bpchar", Some("\"C\""), "[a-c ]{0,3}".boxed()),
    ]
}

fn rows(client: &mut Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).unwrap_or_else(|e| panic!("{e:?} in {sql}"));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).unwrap_or("").to_owned()).collect()),
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// One case: some ranges (open ends are None), W (maybe none) and E, all decided here and by PostgreSQL.
fn agrees(
    client: &mut Client,
    (type_name, collation): (&str, Option<&str>),
    ranges: &[(Option<String>, Option<String>)],
    watermark: &Option<String>,
    end: &str,
) {
    let mut values: Vec<&str> = ranges
        .iter()
        .flat_map(|(a, b)| [a, b])
        .flatten()
        .map(String::as_str)
        .collect();
    values.extend(watermark.as_deref());
    values.push(end);
    let collate = collation.map(|c| format!(" COLLATE {c}")).unwrap_or_default();
    let ranked = rows(client, &ranking_query(&values, &format!("{type_name}{collate}")));
    let ranks: HashMap<&str, i64> = ranked
        .iter()
        .map(|row| {
            let at: usize = row[0].parse().expect("a position");
            (values[at - 1], row[1].parse().expect("a rank"))
        })
        .collect();
    let rank = |value: &Option<String>| value.as_deref().map(|v| ranks[v]);

    let typed = |value: &str| format!("({}::{type_name}{collate})", quote_literal(value));
    for (start, stop) in ranges {
        let range = Range {
            start: rank(start),
            end: rank(stop),
            end_inclusive: false,
        };
        let ours = decide(Some(&range), rank(watermark).as_ref(), Some(&ranks[end])).is_taken();
        let lower = start
            .as_ref()
            .map_or("true".into(), |s| format!("{} <= {}", typed(s), typed(end)));
        let upper = match (stop, watermark) {
            (Some(stop), Some(watermark)) => format!("{} > {}", typed(stop), typed(watermark)),
            _ => "true".into(),
        };
        let theirs = rows(client, &format!("SELECT {lower} AND {upper}"))[0][0] == "t";
        assert_eq!(
            ours, theirs,
            "{type_name} [{start:?}, {stop:?}) W {watermark:?} E {end:?}"
        );
    }
}

#[test]
fn selection_agrees_with_the_servers_comparison_for_every_type() {
    let cluster = Cluster::start("");
    let lacks_icu = needs::lacks_icu(&[&cluster]);
    for (type_name, collation, value) in types() {
        if collation == Some(ICU) && lacks_icu {
            continue;
        }
        let open = proptest::option::weighted(0.85, value.clone());
        let case = (
            proptest::collection::vec((open.clone(), open.clone()), 1..6),
            proptest::option::weighted(0.7, value.clone()),
            value,
        );
        let client = std::cell::RefCell::new(cluster.connect());
        let config = Config {
            cases: 60,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config)
            .run(&case, |(ranges, watermark, end)| {
                agrees(
                    &mut client.borrow_mut(),
                    (type_name, collation),
                    &ranges,
                    &watermark,
                    &end,
                );
                Ok(())
            })
            .unwrap_or_else(|e| panic!("{type_name}: {e}"));
    }
}
