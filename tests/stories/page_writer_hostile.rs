//! Rows that nobody would send, to the page writer: what becomes of them is what COPY makes of them, down to the words.

use crate::support::Pair;
use crate::support::dice::{Dice, rounds};
use crate::support::fake::{Fake, Lie, message};
use crate::support::scene::COPY;
use crate::support::swapped::{self, is_sound};
use crate::support::two_ways::{self, TABLES};

/// Where the rows are told wrongly.
struct Scene {
    pair: Pair,
    fake: Fake,
}

fn scene() -> Scene {
    let pair = Pair::with("", "cgpsync.max_retries = 0");
    swapped::checks(&pair.target);
    let fake = Fake::start(pair.source.port);
    pair.create_server("fake", fake.port);
    Scene { pair, fake }
}

impl Scene {
    /// `t` on the source with `rows`, and two tables alike here, of partitions where `of_partitions`.
    fn tables(&self, columns: &str, rows: &str, partition: &str) {
        self.pair.source.sql(&format!(
            "DROP TABLE IF EXISTS t; CREATE TABLE t ({columns}); INSERT INTO t {rows}"
        ));
        for (table, _) in TABLES {
            self.pair.target.sql(&format!("DROP TABLE IF EXISTS {table}"));
            self.pair.target.sql(&match partition {
                "" => format!("CREATE TABLE {table} ({columns})"),
                bound => format!(
                    "CREATE TABLE {table} ({columns}) PARTITION BY RANGE (id);
                     CREATE TABLE {table}_1 PARTITION OF {table} FOR VALUES {bound}"
                ),
            });
        }
    }

    /// What comes of both ways while this lie is told, each table called `t`: its rows, or the error.
    fn outcomes(&self, lie: &Lie) -> [Result<String, String>; 2] {
        TABLES.map(|way| {
            self.fake.tell(vec![(COPY, lie.clone())]);
            let synced = two_ways::sync(&self.pair, way, ", source => 'fake'");
            self.fake.tell(Vec::new());
            let (table, _) = way;
            let of_last = "WHERE run_id = (SELECT max(run_id) FROM cgpsync_run)";
            match synced {
                Ok(()) => {
                    is_sound(&self.pair.target, table);
                    Ok(self.pair.target.text(&format!("SELECT md5(string_agg(t::text, E'\\n' ORDER BY t::text)) FROM {table} t")))
                }
                Err(_) => Err(self
                    .pair
                    .target
                    .text(&format!(
                        "SELECT concat_ws(E'\\n', error_code, error_message, error_detail, error_hint) FROM cgpsync_run_partition {of_last}"
                    ))
                    .replace(table, "t")),
            }
        })
    }
}

/// The row whose first field, an int, is 3 becomes what `change` makes of it, length of the message apart.
fn third(change: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Lie {
    let mark = [0, 0, 0, 4, 0, 0, 0, 3];
    Lie::change(b'd', move |body| match body.get(2..10) == Some(&mark) {
        true => message(b'd', &change(body)),
        false => message(b'd', body),
    })
}

/// That row's second field, the last one, becomes these bytes.
fn field(bytes: &'static [u8]) -> Lie {
    third(move |row| [&row[..10], &(bytes.len() as u32).to_be_bytes(), bytes].concat())
}

#[test]
fn a_value_that_is_wrong_is_refused_in_copys_words_with_line_and_column() {
    let scene = scene();
    let (null, short, long) = (
        third(|row| [&row[..10], &(-1i32).to_be_bytes()[..]].concat()),
        third(|row| row[..row.len() - 1].to_vec()),
        third(|row| [&[0, 3], &row[2..]].concat()),
    );
    let far = 9_223_371_331_200_000_000i64.to_be_bytes();
    let days = 2_145_031_949i32.to_be_bytes();
    let (far, days): (&'static [u8], &'static [u8]) = (far.to_vec().leak(), days.to_vec().leak());
    let number = |words: &[u16]| -> &'static [u8] {
        words
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect::<Vec<_>>()
            .leak()
    };
    let of_size = |size: i32| third(move |row| [&row[..10], &size.to_be_bytes()[..]].concat());
    for (kind, lie, expected) in [
        ("text", field(b"\xff"), Some("22021")),
        ("text", field(b"a\0b"), Some("22021")),
        ("text", field(b"\xed\xa0\x80"), Some("22021")),
        ("varchar(3)", field(b"abcd"), Some("22001")),
        ("varchar(3)", field(b"abc   "), None),
        ("char(3)", field("äöüß".as_bytes()), Some("22001")),
        ("char(3)", field(b"abc  "), None),
        ("int", field(b"\0\0\0"), Some("08P01")),
        ("int", field(b"\0\0\0\0\0"), Some("22P03")),
        ("bigint", field(b""), Some("08P01")),
        ("boolean", field(b"\x02"), None),
        ("boolean", field(b""), Some("08P01")),
        ("date", field(days), Some("22008")),
        ("date", field(b"\x7f\xff\xff\xff"), None),
        ("timestamp", field(far), Some("22008")),
        ("timestamptz(0)", field(b"\0\0\0\0\0\x07\xa1\x20"), None),
        ("uuid", field(b"0123456789abcde"), Some("08P01")),
        ("json", field(b"{"), Some("22P02")),
        ("jsonb", field(b"\x02{}"), Some("XX000")),
        ("int[]", field(b"\0\0\0\x09"), Some("")),
        ("numeric", field(number(&[1, 0, 1, 0, 5])), Some("22P03")),
        ("numeric", field(number(&[1, 0, 0, 0, 10_000])), Some("22P03")),
        ("numeric", field(number(&[2, 0, 0, 2, 1, 2345])), None),
        ("numeric", field(number(&[1, 0, 0xC000, 0, 7])), None),
        ("numeric", field(number(&[2, 0, 0, 0])), Some("08P01")),
        ("numeric(4,2)", field(number(&[2, 0, 0, 2, 123, 4500])), Some("22003")),
        ("numeric(4,2)", field(number(&[2, 0, 0, 3, 1, 50])), None),
        ("text NOT NULL", null.clone(), Some("23502")),
        ("text", null, None),
        ("text", short, Some("22021")),
        ("text", long, Some("22P04")),
        ("text", third(|_| b"\xff\xfe".to_vec()), Some("22P04")),
        ("text", third(|_| b"\xff\xff".to_vec()), Some("22P04")),
        ("text", of_size(-2), Some("22P04")),
        ("text", of_size(0x3fff_ffff), Some("54000")),
    ] {
        let value = match kind {
            "uuid" => "md5(g::text)::uuid",
            "date" | "timestamp" | "timestamptz(0)" => "'2017-01-01'",
            "json" | "jsonb" => "'[1]'",
            "int[]" => "ARRAY[g]",
            "boolean" => "true",
            _ => "g",
        };
        let insert = format!("SELECT g, {value} FROM generate_series(1, 5) g");
        scene.tables(&format!("id int, v {kind}"), &insert, "");
        let [copy, pages] = scene.outcomes(&lie);
        assert_eq!(copy, pages, "{kind}");
        match (expected, &pages) {
            (Some(code), Err(error)) => {
                assert!(error.starts_with(code), "{kind}: {error}");
                assert!(error.contains("COPY t, line "), "{kind}: {error}");
                let is_of_value = !["22P04", "23502"].contains(&code);
                assert!(
                    !is_of_value || error.contains("COPY t, line 3, column v"),
                    "{kind}: {error}"
                );
            }
            (None, Ok(_)) => {}
            _ => panic!("{kind}: {pages:?}"),
        }
    }
}

#[test]
fn a_row_of_another_partition_is_refused_and_the_old_rows_stay() {
    let scene = scene();
    scene.tables(
        "id int, v text",
        "SELECT g, 'v' FROM generate_series(1, 5) g",
        "FROM (1) TO (6)",
    );
    for id in [0u32, 6, u32::MAX, 1 << 31] {
        let lie = third(move |row| [&row[..6], &id.to_be_bytes(), &row[10..]].concat());
        let [copy, pages] = scene.outcomes(&lie);
        assert_eq!(copy, pages, "{id}");
        let error = pages.expect_err("it has no place here");
        assert!(
            error.starts_with("23514") && error.contains("Failing row contains"),
            "{error}"
        );
    }
    let without = third(|row| [&row[..2], &(-1i32).to_be_bytes(), &row[10..]].concat());
    let [copy, pages] = scene.outcomes(&without);
    assert_eq!(copy, pages);
    assert!(pages.is_err());
    scene.pair.same("SELECT 1");
}

#[test]
fn a_key_that_is_rounded_belongs_where_it_is_then() {
    let scene = scene();
    for (microseconds, is_taken) in [(0, true), (499_999, true), (700_000, false)] {
        scene.tables(
            "id timestamp(0), v text",
            "VALUES ('2016-12-30', 'first'), ('2016-12-31 23:59:59', 'last')",
            "FROM ('2016-12-01') TO ('2017-01-01')",
        );
        let lie = Lie::change(b'd', move |body| match body.get(2..6) {
            Some([0, 0, 0, 8]) => {
                let (head, rest) = body.split_at(6);
                let (time, rest) = rest.split_first_chunk().expect("eight bytes");
                let later = i64::from_be_bytes(*time) + microseconds;
                message(b'd', &[head, &later.to_be_bytes(), rest].concat())
            }
            _ => message(b'd', body),
        });
        let [copy, pages] = scene.outcomes(&lie);
        assert_eq!(copy, pages, "{microseconds}");
        assert_eq!(pages.is_ok(), is_taken, "{pages:?}");
    }
}

#[test]
fn a_stream_that_is_broken_anywhere_becomes_what_copy_makes_of_it() {
    let scene = scene();
    scene.tables(
        "id int, a text, b numeric(10,2), c timestamptz, d varchar(5), e date, f bytea, g float8, h int[], i boolean, j char(4)",
        "SELECT g, 'text ' || g, g / 3.0, timestamptz '2017-01-01 00:00+00' + g * interval '1 s', left(md5(g::text), 5),
                date '2017-01-01' + g, decode(md5(g::text), 'hex'), g / 7.0, ARRAY[g, 2], g % 2 = 0, 'ab'
         FROM generate_series(1, 40) g",
        "",
    );
    let (mut refused, mut taken) = (0, 0);
    for round in 0..rounds("PAGES_LIES", 60) as u64 {
        let lie = Lie::change(b'd', move |body| {
            // The same lie for both: it depends on the row alone.
            let own = body
                .iter()
                .fold(round, |hash, byte| hash.wrapping_mul(31) ^ u64::from(*byte));
            let mut dice = Dice::new(own);
            let mut body = body.to_vec();
            if dice.below(40) == 0 && !body.is_empty() {
                let at = dice.below(body.len() as u64) as usize;
                match dice.below(5) {
                    0 => body[at] ^= 1 << dice.below(8),
                    1 => body[at] = dice.pick(&[0, 0xff, 0x7f, 0x80]),
                    2 => body.truncate(at),
                    3 => body.insert(at, dice.below(256) as u8),
                    _ => body[at] = dice.below(256) as u8,
                }
            }
            message(b'd', &body)
        });
        let [copy, pages] = scene.outcomes(&lie);
        assert_eq!(copy, pages, "round {round}");
        match pages {
            Ok(_) => taken += 1,
            Err(_) => refused += 1,
        }
    }
    println!("{refused} refused, {taken} taken");
    assert!(refused > 0 && taken > 0);
    assert!(!scene.pair.target.log().contains("was terminated by signal"));
}
