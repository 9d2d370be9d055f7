//! A source that speaks the protocol wrongly, or not to the end.

use crate::support::clock::Clock;
use crate::support::fake::{GREETING, Lie, framed, message, report, row};
use crate::support::scene::*;
use std::time::Duration;

/// COPY's first message in binary: signature and header, the number of columns, and then the first one's length, which is this.
fn field_of(length: u32) -> impl Fn(&[u8]) -> Vec<u8> {
    move |body| match body.get(..21) {
        Some(begin) => message(b'd', &[begin, &length.to_be_bytes()].concat()),
        None => message(b'd', body),
    }
}

#[test]
fn a_broken_protocol_is_an_error() {
    let scene = scene();
    let length = ("08P01", "impossible length");
    let unexpected = |words| ("08P01", words);
    let cases = [
        (
            "a negative length",
            SYNC,
            FIND,
            Lie::instead(b'D', framed(b'D', u32::MAX, b"x")),
            length,
        ),
        (
            "no length",
            SYNC,
            FIND,
            Lie::instead(b'D', framed(b'D', 0, b"x")),
            length,
        ),
        (
            "a giant length",
            SYNC,
            FIND,
            Lie::instead(b'D', framed(b'D', i32::MAX as u32, b"x")),
            unexpected("too long"),
        ),
        (
            "an unknown message",
            SYNC,
            FIND,
            Lie::instead(b'D', message(b'?', b"x")),
            unexpected(""),
        ),
        (
            "fewer values",
            SYNC,
            FIND,
            Lie::instead(b'D', row(&[some("1")])),
            unexpected(""),
        ),
        (
            "a giant value",
            SYNC,
            FIND,
            Lie::instead(b'D', message(b'D', b"\0\x06\x7f\xff\xff\xff")),
            unexpected(""),
        ),
        (
            "a negative value",
            SYNC,
            FIND,
            Lie::instead(b'D', message(b'D', b"\0\x06\xff\xff\xff\xfe")),
            unexpected(""),
        ),
        (
            "rows without columns",
            SYNC,
            FIND,
            Lie::instead(b'T', Vec::new()),
            unexpected(""),
        ),
        (
            "data of a COPY",
            SYNC,
            FIND,
            Lie::instead(b'D', message(b'd', b"x")),
            unexpected("outside of a COPY"),
        ),
        (
            "a COPY",
            SYNC,
            FIND,
            Lie::instead(b'T', message(b'H', &[0, 0, 0])),
            unexpected(""),
        ),
        (
            "a wish for data",
            TEXT,
            COPY,
            Lie::instead(b'H', message(b'G', &[0, 0, 0])),
            unexpected(""),
        ),
        (
            "no rows counted",
            TEXT,
            COPY,
            Lie::instead(b'C', message(b'C', b"COPY\0")),
            unexpected("instead of a row count"),
        ),
        (
            "another count",
            TEXT,
            COPY,
            Lie::instead(b'C', message(b'C', b"COPY 7\0")),
            unexpected("7 rows were sent and 20 loaded"),
        ),
        (
            "a wild tag",
            TEXT,
            COPY,
            Lie::instead(b'C', message(b'C', b"\x1b[2J\0")),
            unexpected("instead of a row count"),
        ),
        (
            "no end of data",
            TEXT,
            COPY,
            Lie::instead(b'c', Vec::new()),
            unexpected(""),
        ),
        (
            "a row too many",
            TEXT,
            COPY,
            Lie::instead(b'c', [message(b'd', b"1\tx\n"), message(b'c', b"")].concat()),
            unexpected("20 rows were sent and 21 loaded"),
        ),
        (
            "a row less",
            TEXT,
            COPY,
            Lie::change(b'd', |body| {
                if body.starts_with(b"7\t") {
                    Vec::new()
                } else {
                    message(b'd', body)
                }
            }),
            unexpected("20 rows were sent and 19 loaded"),
        ),
        ("a lost connection", TEXT, COPY, Lie::Close(b'c'), ("08006", "")),
        ("a lost end", TEXT, COPY, Lie::Close(b'C'), ("08006", "")),
        (
            "an error at the end",
            TEXT,
            COPY,
            Lie::instead(b'C', report(b'E', &[(b'C', "XX001"), (b'M', "no")])),
            ("XX001", ""),
        ),
        (
            "rows of another partition",
            SYNC,
            COPY,
            Lie::ask("persons_201701", "persons_201702"),
            ("23514", ""),
        ),
        ("a column less", SYNC, COPY, Lie::ask("\"id\", ", ""), ("22P04", "")),
        (
            "a column more",
            SYNC,
            COPY,
            Lie::ask("\"id\", ", "\"id\", \"id\", "),
            ("22P04", ""),
        ),
        (
            "text for binary",
            SYNC,
            COPY,
            Lie::ask("WITH BINARY", ""),
            ("22P04", ""),
        ),
        (
            "binary for text",
            TEXT,
            COPY,
            Lie::ask("TO STDOUT", "TO STDOUT WITH BINARY"),
            ("22P02", ""),
        ),
        (
            "no numbers",
            TEXT,
            COPY,
            Lie::ask("\"i\"", "repeat(E'\\x1b[2J', 100000)"),
            ("22P02", "invalid input syntax for type bigint"),
        ),
        (
            "wild bytes",
            TEXT,
            COPY,
            Lie::change(b'd', |_| message(b'd', b"1\t\xff\xfe\x1b\n")),
            ("22021", ""),
        ),
        (
            "a giant field",
            SYNC,
            COPY,
            Lie::change(b'd', field_of(0x7fff_ffff)),
            ("54000", ""),
        ),
        (
            "a negative field",
            SYNC,
            COPY,
            Lie::change(b'd', field_of(0xffff_fffe)),
            ("22P04", ""),
        ),
    ];
    for (what, sql, when, lie, expected) in cases {
        scene.fails(what, sql, vec![(when, lie)], expected);
    }
    scene.end();
}

#[test]
fn a_wrong_greeting_is_an_error() {
    let scene = scene();
    let code = |code: u32, rest: &[u8]| message(b'R', &[&code.to_be_bytes(), rest].concat());
    let refused = |words| ("08001", words);
    let iterations = Lie::change(b'R', |body| {
        let text = String::from_utf8_lossy(body).replace(",i=4096", ",i=4000000000");
        message(b'R', text.as_bytes())
    });
    let cases = [
        (
            "Kerberos",
            Lie::instead(b'R', code(2, b"")),
            refused("unsupported authentication"),
        ),
        (
            "GSSAPI",
            Lie::instead(b'R', code(7, b"")),
            refused("unsupported authentication"),
        ),
        (
            "SSPI",
            Lie::instead(b'R', code(9, b"")),
            refused("unsupported authentication"),
        ),
        (
            "an unknown one",
            Lie::instead(b'R', code(99, b"")),
            ("08P01", "unknown authentication"),
        ),
        (
            "another mechanism",
            Lie::instead(b'R', code(10, b"WILD\x1b\0\0")),
            refused("unsupported SASL"),
        ),
        (
            "no mechanism",
            Lie::instead(b'R', code(10, b"\0")),
            refused("unsupported SASL"),
        ),
        (
            "none at all",
            Lie::instead(b'R', message(b'R', b"")),
            ("08P01", "impossible length"),
        ),
        ("work for hours", iterations, ("08P01", "iteration")),
        ("silence", Lie::Silence(b'R'), refused("timeout expired")),
        (
            "silence after the password",
            Lie::Silence(b'S'),
            refused("timeout expired"),
        ),
        ("an end", Lie::Close(b'R'), ("08006", "")),
        (
            "settings without end",
            Lie::Flood(b'S', [message(b'S', b"a\0b\0"), message(b'S', b"c\0d\0")].concat()),
            ("08P01", "has no end"),
        ),
        (
            "notices without end",
            Lie::Flood(b'S', report(b'N', &[(b'C', "00000"), (b'M', "x")])),
            ("08P01", "has no end"),
        ),
        (
            "a giant setting",
            Lie::instead(b'S', framed(b'S', 1 << 30, b"a")),
            ("08P01", "too long"),
        ),
        (
            "something else",
            Lie::instead(b'R', message(b'T', b"\0\0")),
            ("08P01", "unexpected message"),
        ),
    ];
    for (what, lie, expected) in cases {
        // Only silence is waited for, so the others have all the time they need.
        let silence = matches!(lie, Lie::Silence(_));
        if silence {
            scene
                .pair
                .target
                .sql("ALTER SERVER fake OPTIONS (ADD connect_timeout '2')");
        }
        let began = Clock::start();
        scene.fails(what, PLAN, vec![(GREETING, lie)], expected);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "{what} took {took:?}");
        if silence {
            scene
                .pair
                .target
                .sql("ALTER SERVER fake OPTIONS (DROP connect_timeout)");
        }
    }
    scene.end();
}
