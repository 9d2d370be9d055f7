//! A target that lies: it gets the rows, and nothing else comes of it, here or on the source.

use crate::support::fake::{Lie, framed, message, report, row};
use crate::support::scene::*;

/// What the statements over there have of their own.
const PORTRAIT: &str = "EXECUTE cgpsync_describe";
const MADE: &str = ", '_cgpsync_";
const LOAD: &str = "FROM STDIN";
const LOCK: &str = "pg_try_advisory_lock(";
const JOIN: &str = "pg_try_advisory_xact_lock_shared(";
const COMMIT: &str = "; COMMIT";
const STORAGE: &str = "c.relfilenode";

fn json(text: &str) -> Lie {
    Lie::value(0, text.as_bytes())
}

#[test]
fn whatever_a_target_says_is_an_error_or_its_own_affair() {
    let scene = scene_elsewhere();
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = "x".repeat(4_000_000);
    let wild = report(
        b'E',
        &[
            (b'C', "XX\u{1b}00"),
            (b'M', "\u{1b}[2J\nwild"),
            (b'D', &long[..100_000]),
            (b'H', "\u{202e}hint"),
        ],
    );
    let notices = message(b'N', b"SNOTICE\0C00000\0Mlook\0\0");
    let cases: Vec<(&str, &str, Lie, (&str, &str))> = vec![
        (
            "no JSON",
            PORTRAIT,
            json("{"),
            ("08P01", "describes a table otherwise than expected"),
        ),
        (
            "another JSON",
            PORTRAIT,
            json("{\"shape\": 1}"),
            ("08P01", "otherwise than expected"),
        ),
        ("deep JSON", PORTRAIT, json(&deep), ("08P01", "otherwise than expected")),
        (
            "a long text",
            PORTRAIT,
            json(&format!("\"{long}\"")),
            ("08P01", "otherwise than expected"),
        ),
        (
            "no row",
            PORTRAIT,
            Lie::instead(b'D', Vec::new()),
            ("42P01", "does not exist any more on server \"fake\""),
        ),
        (
            "no table made",
            MADE,
            Lie::instead(b'D', Vec::new()),
            ("XX000", "is not there"),
        ),
        (
            "no lock",
            LOCK,
            Lie::value(0, b"maybe"),
            ("55006", "is being synced already"),
        ),
        (
            "another process",
            LOCK,
            Lie::value(1, b"7\x1b"),
            ("0A000", "does not keep a session in one process"),
        ),
        (
            "a lock that is gone",
            JOIN,
            Lie::value(0, b"f"),
            ("08006", "holds the run's lock on server \"fake\" is gone"),
        ),
        (
            "data of its own",
            LOAD,
            Lie::instead(b'G', message(b'H', &[0, 0, 0])),
            ("08P01", "nobody has asked for"),
        ),
        (
            "a COPY both ways",
            LOAD,
            Lie::instead(b'G', message(b'W', &[0, 0, 0])),
            ("08P01", ""),
        ),
        (
            "a wish for data twice",
            LOAD,
            Lie::instead(b'G', [message(b'G', &[0, 0, 0]), message(b'G', &[0, 0, 0])].concat()),
            ("08P01", "nobody has asked for"),
        ),
        (
            "a giant message",
            LOAD,
            Lie::instead(b'G', framed(b'G', i32::MAX as u32, b"x")),
            ("08P01", "too long"),
        ),
        (
            "another count",
            LOAD,
            Lie::instead(b'C', message(b'C', b"COPY 7\0")),
            ("08P01", "20 rows were sent and 7 loaded"),
        ),
        (
            "no count",
            LOAD,
            Lie::instead(b'C', message(b'C', b"COPY\0")),
            ("08P01", "instead of a row count"),
        ),
        (
            "an end before the rows",
            LOAD,
            Lie::instead(b'G', message(b'C', b"COPY 20\0")),
            ("08P01", ""),
        ),
        ("a wild error", LOAD, Lie::instead(b'G', wild), ("08P01", "wild")),
        (
            "notices without end",
            LOAD,
            Lie::Flood(b'G', notices),
            ("08P01", "too long to be held"),
        ),
        (
            "no end of the connection",
            COMMIT,
            Lie::Close(b'C'),
            ("08006", "server \"fake\""),
        ),
        (
            "no storage",
            STORAGE,
            Lie::instead(b'D', Vec::new()),
            ("XX000", "the unit is gone"),
        ),
        (
            "a storage of words",
            STORAGE,
            Lie::value(1, b"many"),
            ("08P01", "where a number must be"),
        ),
        (
            "a catalog of one value",
            FIND,
            Lie::instead(b'D', row(&[some("1")])),
            ("08P01", ""),
        ),
    ];
    for (what, when, lie, expected) in cases {
        scene.fails(what, SYNC_ELSEWHERE, vec![(when, lie)], expected);
    }
    assert_eq!(scene.pair.target.text("SELECT count(*) FROM sync_table"), "0");
    scene.end();
}
