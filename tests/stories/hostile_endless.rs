//! A source that does not stop, and one that is too loud.

use crate::support::clock::Clock;
use crate::support::fake::{Lie, message, report, row};
use crate::support::poll;
use crate::support::scene::*;
use std::time::Duration;

#[test]
fn what_has_no_end_is_refused_or_ends_with_a_cancel() {
    let scene = scene();
    let notice = report(b'N', &[(b'C', "00000"), (b'M', "again")]);
    let numbered = |count: usize| {
        (0..count)
            .flat_map(|n| message(b'S', format!("s{n}\0x\0").as_bytes()))
            .collect::<Vec<u8>>()
    };
    let wide = row(&vec![None; 10_000]);
    let cases = [
        (
            "rows",
            SYNC,
            TREE,
            Lie::Flood(
                b'D',
                row(&[
                    some("1"),
                    some("2"),
                    some("a"),
                    some("b"),
                    None,
                    some("t"),
                    None,
                    some("r"),
                ]),
            ),
        ),
        ("rows of nothing", SYNC, EXPORT, Lie::Flood(b'D', row(&[None]))),
        ("statements", SYNC, FIND, Lie::Flood(b'C', message(b'C', b"SELECT 1\0"))),
        ("empty statements", SYNC, FIND, Lie::Flood(b'C', message(b'I', b""))),
        ("descriptions", SYNC, FIND, Lie::Flood(b'T', message(b'T', &[0, 0]))),
        ("notices", SYNC, FIND, Lie::Flood(b'T', notice.clone())),
        ("settings", SYNC, FIND, Lie::Flood(b'T', numbered(1_000))),
        ("notices in a COPY", TEXT, COPY, Lie::Flood(b'd', notice)),
        (
            "settings in a COPY",
            TEXT,
            COPY,
            Lie::Flood(b'd', [numbered(1_000), message(b'd', b"1\tx\n")].concat()),
        ),
    ];
    for (what, sql, when, lie) in cases {
        scene.fails(what, sql, vec![(when, lie)], ("08P01", "has no end"));
    }
    scene.fails(
        "wide rows",
        SYNC,
        vec![(IDENTIFY, Lie::Flood(b'D', wide))],
        ("08P01", ""),
    );
    for (what, lie) in [
        ("rows of a COPY", Lie::Flood(b'd', message(b'd', b"1\tx\n"))),
        ("empty data of a COPY", Lie::Flood(b'd', message(b'd', b""))),
        ("silence before a COPY", Lie::Silence(b'H')),
        ("silence in a COPY", Lie::Silence(b'd')),
        ("silence after a COPY's rows", Lie::Silence(b'c')),
        ("silence after a COPY", Lie::Silence(b'C')),
    ] {
        scene.fake.tell(vec![(COPY, lie)]);
        let run = scene.pair.sync_in_background("'t', '20170131', 2, 'fake'");
        poll("it is copying", LIMIT, || {
            scene
                .pair
                .target
                .text("SELECT count(*) FROM cgpsync_run_partition WHERE status = 'copying'")
                == "1"
        });
        poll("the source has been asked", LIMIT, || {
            scene.fake.heard().iter().any(|sql| sql.contains("COPY"))
        });
        // Not a wait for something: the run bears it for a while.
        std::thread::park_timeout(Duration::from_millis(500));
        assert!(!run.is_finished(), "{what} ended: {:?}", run.join());
        let began = Clock::start();
        run.cancel.cancel_query(postgres::NoTls).expect("a cancel");
        let error = run.join().expect_err("cancelled");
        assert!(error.starts_with("57014"), "{what}: {error}");
        scene.pair.all_gone_within_two_seconds(began);
        println!("{what} was cancelled, in {:?}", began.elapsed());
        scene.fake.tell(Vec::new());
        scene.is_as_before(what);
    }
    scene.end();
}

#[test]
fn errors_of_a_source_are_told_short_and_tame() {
    let scene = scene();
    let wild = "\u{1b}]0;owned\u{7}\r\n\u{9b}2J\u{202e}".repeat(100_000);
    let fields = |code: &'static str| {
        let wild = wild.clone();
        report(
            b'E',
            &[(b'C', code), (b'M', &wild), (b'D', &wild), (b'H', &wild), (b'W', &wild)],
        )
    };
    for (when, sql) in [
        (IDENTIFY, SYNC),
        (FIND, SYNC),
        (COPY, SYNC),
        (FIND, PLAN),
        (FIND, CREATE),
    ] {
        let error = scene.fails(
            "an error",
            sql,
            vec![
                (when, Lie::instead(b'T', fields("22012")).clone()),
                (COPY, Lie::instead(b'H', fields("22012"))),
            ],
            ("22012", "owned"),
        );
        assert!(!format!("{error:?}").contains('\u{202e}'));
    }
    for code in ["00000", "01000", "\u{1b}[2J", "1", "42p01"] {
        let error = scene.fails(
            "a code",
            SYNC,
            vec![(FIND, Lie::instead(b'T', fields(code)))],
            ("08P01", "Remote SQLSTATE"),
        );
        assert!(error.detail().is_some());
    }
    // Fields that are missing.
    scene.fails(
        "no fields",
        SYNC,
        vec![(FIND, Lie::instead(b'T', message(b'E', b"\0")))],
        ("08P01", ""),
    );
    scene.fails(
        "an unclosed field",
        SYNC,
        vec![(FIND, Lie::instead(b'T', message(b'E', b"Mx")))],
        ("08P01", ""),
    );
    scene.end();
}
