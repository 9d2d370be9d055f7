//! A source whose catalogs say anything. Each lie gets an error or is only a value; nothing of it is executed, nothing here is lost, memory and
//! stack stay bounded, and what an error tells of it is short and tame.

use crate::support::fake::{Lie, message, report, row, values};
use crate::support::scene::*;
use std::sync::Arc;

#[test]
fn catalogs_full_of_sql_are_values_or_errors() {
    let scene = scene();
    let date = ("22007", "invalid input syntax for type date");
    let unreadable = ("08P01", "cannot read partition bound");
    let no_text = ("08P01", "not text in UTF8");
    let name = ("08P01", "a name that cannot be one");
    let bound = |text: &str| Lie::value(4, format!("FOR VALUES {text}").as_bytes());
    let long = "x\u{1b}[2J".repeat(1_000_000);
    let cases = [
        (
            "a call",
            TREE,
            bound("FROM (pg_sleep(100)) TO ('2018-01-01')"),
            unreadable,
        ),
        (
            "a query",
            TREE,
            bound("FROM ((SELECT 1)) TO ('2018-01-01')"),
            unreadable,
        ),
        (
            "a statement",
            TREE,
            bound("FROM ('2017-01-01') TO ('2018-01-01'); DROP TABLE precious"),
            unreadable,
        ),
        (
            "a statement in a value",
            TREE,
            bound("FROM ('''); DROP TABLE precious; --') TO ('2018-01-01')"),
            date,
        ),
        (
            "a bare word",
            TREE,
            bound("FROM (CURRENT_USER) TO ('2018-01-01')"),
            date,
        ),
        (
            "a long bound",
            TREE,
            bound(&format!("FROM ('{long}') TO ('2018-01-01')")),
            date,
        ),
        ("a bound without end", TREE, bound(&format!("IN ('{long}")), unreadable),
        (
            "many defaults",
            TREE,
            Lie::value(4, b"DEFAULT"),
            ("08P01", "more than one default"),
        ),
        ("an empty name", TREE, Lie::value(3, b""), name),
        ("a long name", TREE, Lie::value(3, long.as_bytes()), name),
        ("a zero byte", TREE, Lie::value(3, b"a\0b"), no_text),
        ("no UTF8", TREE, Lie::value(3, b"\xff\xfe"), no_text),
        ("another type", LEVELS, Lie::value(5, b"23"), ("", "")),
        (
            "a column",
            COLUMNS,
            Lie::value(0, b"\"; DROP TABLE precious; --"),
            ("42804", "DROP TABLE precious"),
        ),
        ("a long type", COLUMNS, Lie::value(2, long.as_bytes()), ("", "")),
        (
            "a snapshot",
            EXPORT,
            Lie::value(0, b"'; DROP TABLE precious; --"),
            ("08006", "invalid snapshot identifier"),
        ),
        (
            "a schema",
            FIND,
            Lie::value(1, b"\"; DROP TABLE precious; --"),
            ("", ""),
        ),
        (
            "an identity",
            IDENTIFY,
            Lie::value(1, b"'); DROP TABLE precious; --"),
            ("", ""),
        ),
        ("nulls", IDENTIFY, Lie::rows(|row| row.fill(None)), ("", "")),
        (
            "no columns",
            TREE,
            Lie::Change(Arc::new(|tag, _| match tag {
                b'T' => Some(message(b'T', &[0, 0])),
                b'D' => Some(row(&[])),
                _ => None,
            })),
            ("08P01", "gave no value"),
        ),
    ];
    for (what, when, lie, expected) in cases {
        if expected.0.is_empty() {
            // Of no consequence.
            let _ = scene.call(SYNC, vec![(when, lie)]);
            scene.pair.target.sql(
                "TRUNCATE sync_table; TRUNCATE persons_201701; INSERT INTO persons VALUES (-1, 'old', '2017-01-05')",
            );
            scene.is_as_before(what);
        } else {
            scene.fails(what, SYNC, vec![(when, lie)], expected);
        }
    }
    scene.end();
}

#[test]
fn the_same_in_the_callers_own_session() {
    let scene = scene();
    let deep = "(".repeat(2_000_000);
    let defaults = "pg_get_expr(d.adbin";
    for (what, text) in [
        ("a call", "pg_sleep(100)"),
        ("many parentheses", deep.as_str()),
        ("a statement", "'a'::text; DROP TABLE precious"),
        ("a call in the type", "'a'::\"x\"\"\"(pg_sleep(100))"),
    ] {
        let (mut client, notices) = scene.pair.target.connect_with_notices();
        scene.fake.tell(vec![(defaults, Lie::value(5, text.as_bytes()))]);
        client.batch_execute(&format!("BEGIN; {CREATE}; ROLLBACK")).expect(what);
        let notices = notices.lock().expect("a lock").join("\n");
        assert!(
            notices.contains("default of column \"i\" is not copied") && notices.len() < 3000,
            "{what}: {notices}"
        );
        let heard = scene.fake.heard();
        assert!(!heard.iter().any(|sql| sql.contains("CAST(CAST(")), "{what}: {heard:?}");
        scene.is_as_before(what);
    }
    let endless = |tag, values: usize| Lie::Flood(tag, row(&vec![some("1"); values]));
    let too_long = ("08P01", "has no end");
    scene.fails(
        "rows of a definition",
        CREATE,
        vec![(defaults, endless(b'D', 11))],
        too_long,
    );
    scene.fails("rows of a plan", PLAN, vec![(COLUMNS, endless(b'C', 18))], too_long);
    scene.fails(
        "rows of a count",
        VERIFY,
        vec![("count(*)", endless(b'D', 2))],
        ("08P01", ""),
    );
    scene.fails(
        "a count",
        VERIFY,
        vec![("count(*)", Lie::value(0, b"many"))],
        ("08P01", "count"),
    );
    // What is only told is tame, too.
    let (mut client, notices) = scene.pair.target.connect_with_notices();
    let notice = report(
        b'N',
        &[(b'C', "00000"), (b'M', &"\u{1b}[2J\u{7}wild\n".repeat(100_000))],
    );
    let before = move |body: &[u8]| [notice.clone(), message(b'T', body)].concat();
    scene.fake.tell(vec![(FIND, Lie::change(b'T', before))]);
    client
        .batch_execute(&format!("SET client_min_messages = debug1; {PLAN}"))
        .expect("a plan");
    let notices = notices.lock().expect("a lock");
    let wild: Vec<&String> = notices.iter().filter(|notice| notice.contains("wild")).collect();
    assert!(
        wild.len() == 1 && wild[0].len() < 1200 && !wild[0].contains(char::is_control),
        "{wild:?}"
    );
    drop(notices);
    scene.end();
}

#[test]
fn a_wild_tree_costs_no_stack() {
    let scene = scene();
    const DEPTH: usize = 40_000;
    let rows = Lie::change(b'D', |body| {
        let mut found = message(b'D', body);
        let values = values(body);
        if values[1].is_none() {
            let mut parent = values[0].clone();
            for at in 0..DEPTH {
                let id = some(&(90_000_000 + at).to_string());
                let bound = some("FOR VALUES FROM ('2018-01-01') TO ('2019-01-01')");
                found.extend(row(&[
                    id.clone(),
                    parent,
                    some("public"),
                    some(&format!("deep{at}")),
                    bound,
                    some("t"),
                    some("9223372036854775807"),
                    some("p"),
                ]));
                parent = id;
            }
        }
        found
    });
    let levels = Lie::change(b'D', |body| {
        let mut found = message(b'D', body);
        for at in 0..DEPTH {
            let id = some(&(90_000_000 + at).to_string());
            found.extend(row(&[
                id,
                some("r"),
                some("born"),
                None,
                some("t"),
                some("1082"),
                some("date"),
                some("pg_catalog.date"),
                None,
                None,
                None,
                some("-1"),
                some("date"),
                None,
                some("t"),
            ]));
        }
        found
    });
    let lies = || vec![(TREE, rows.clone()), (LEVELS, levels.clone())];
    assert!(scene.call(PLAN, lies()).is_ok());
    let (mut client, _) = scene.pair.target.connect_with_notices();
    scene.fake.tell(lies());
    client
        .batch_execute("BEGIN; SELECT cgpsync_create_table('persons', 'public.deep', 'fake'); ROLLBACK")
        .expect("names that are taken get a number");
    scene.is_as_before("a deep tree");
    // Sizes that add up to more than there is.
    let sizes = Lie::value(6, b"9223372036854775807");
    assert_eq!(
        scene
            .call(PLAN, vec![(TREE, sizes)])
            .expect("a plan")
            .matches("copy")
            .count(),
        1
    );
    scene.end();
}

#[test]
fn a_partition_named_like_a_statement_is_only_named_so() {
    let scene = scene();
    const NAME: &str = "x\"; DROP TABLE precious; --";
    let more = Lie::change(b'D', |body| {
        let mut found = message(b'D', body);
        let values = values(body);
        if values[1].is_none() {
            let bound = some("FOR VALUES FROM ('2016-12-01') TO ('2017-01-01')");
            found.extend(row(&[
                some("90000000"),
                values[0].clone(),
                some("public"),
                some(NAME),
                bound,
                some("t"),
                None,
                some("r"),
            ]));
        }
        found
    });
    let error = scene.call(SYNC, vec![(TREE, more)]).expect_err("it has no rows");
    assert_eq!(error.code().code(), "42P01", "{error:?}");
    assert_eq!(
        scene
            .pair
            .target
            .text("SELECT relname FROM pg_class WHERE relname LIKE 'x%DROP%' AND relispartition"),
        NAME
    );
    assert_eq!(scene.pair.target.text("SELECT count(*) FROM precious"), "1");
}
