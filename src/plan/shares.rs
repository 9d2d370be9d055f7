//! A big unit in pieces that several processes can load: which rows of the source each of them reads.

use super::copy_sql::{quote_ident, quote_literal, quote_qualified};
use serde::{Deserialize, Serialize};

/// Below this a unit is read as a whole.
pub const SMALLEST_UNIT: i64 = 64 << 20;
const SMALLEST_PIECE: i64 = 16 << 20;
const LARGEST_PIECE: i64 = 1 << 30;
/// What a source says of a table's size must not cost memory here.
const MOST_PIECES: i64 = 4096;
/// Pieces for each process, so that none has long to wait for the last one.
const PIECES_EACH: i64 = 4;

/// Among whom the work of a run is shared.
#[derive(Debug, Clone, Copy)]
pub struct Shares {
    /// workers of the run
    pub processes: u32,
    /// what each of them would copy if all sizes were known and even, bytes
    pub each: i64,
}

/// How many pieces a unit of `bytes` makes; 1: read it as a whole, which costs the source less. That is so unless it is more than one
/// worker's share, as the run would then end with one worker at work.
pub fn count(bytes: i64, shares: Shares) -> u32 {
    if bytes < SMALLEST_UNIT || bytes <= shares.each || shares.processes < 2 {
        return 1;
    }
    let piece = (bytes / (i64::from(shares.processes) * PIECES_EACH)).clamp(SMALLEST_PIECE, LARGEST_PIECE);
    (bytes / piece).clamp(1, MOST_PIECES) as u32
}

/// Conditions on the blocks of a table that has `blocks` now. Together they take every row once: the last has no end, as rows may have been added.
pub fn by_blocks(blocks: u64, count: u32) -> Vec<String> {
    let count = u64::from(count).clamp(1, blocks.max(1));
    let start = |piece: u64| blocks * piece / count;
    (0..count)
        .map(|piece| {
            let from = format!("ctid >= CAST('({},0)' AS tid)", start(piece));
            match piece + 1 == count {
                true => from,
                false => format!("{from} AND ctid < CAST('({},0)' AS tid)", start(piece + 1)),
            }
        })
        .collect()
}

/// Conditions on the segments of a Greenplum cluster that has as many as there are in `segments`, each taken once.
pub fn by_segments(segments: &[i32], count: u32) -> Vec<String> {
    let count = (count as usize).clamp(1, segments.len().max(1));
    let names = |piece: usize| {
        let own = segments.iter().skip(piece).step_by(count);
        own.map(i32::to_string).collect::<Vec<_>>().join(", ")
    };
    (0..count)
        .map(|piece| format!("gp_segment_id IN ({})", names(piece)))
        .collect()
}

/// A slice whose rows can be told apart by the key: of a table that is partitioned on the source, where a range costs no more than its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// the key's name
    pub column: String,
    /// pg_type.typname, of those in `has_arithmetic`
    pub type_name: String,
    /// lower end
    pub start: String,
    /// upper end
    pub end: String,
    /// what the slice may hold
    pub bytes: i64,
}

impl Cut {
    /// Whether values of a type can be divided evenly between two of them.
    pub fn has_arithmetic(type_name: &str) -> bool {
        matches!(
            type_name,
            "date" | "timestamp" | "timestamptz" | "int2" | "int4" | "int8"
        )
    }

    /// A query for the values that cut the range into at most `count` even parts, in their order. Its arithmetic is the source's.
    pub fn points_sql(&self, count: u32) -> String {
        let name = self.type_name.as_str();
        let of_type = |as_type: &str| {
            let as_type = quote_qualified("pg_catalog", as_type);
            let value = |text: &str| format!("CAST({} AS {as_type})", quote_literal(text));
            (value(&self.start), value(&self.end))
        };
        let point = match name {
            "date" => {
                let (start, end) = of_type(name);
                format!("{start} + CAST(CAST({end} - {start} AS bigint) * i / {count} AS int4)")
            }
            "timestamp" | "timestamptz" => {
                let (start, end) = of_type(name);
                format!("{start} + ({end} - {start}) * (CAST(i AS float8) / {count})")
            }
            _ => {
                let (start, end) = of_type("numeric");
                format!("CAST({start} + ({end} - {start}) * i / {count} AS {name})")
            }
        };
        format!(
            "SELECT CAST(points.p AS text) FROM (SELECT DISTINCT {point} AS p FROM generate_series(1, {}) AS i) AS points
             WHERE points.p > {} ORDER BY points.p",
            count.saturating_sub(1),
            of_type(name).0
        )
    }

    /// Conditions for the parts between `points`. The first and the last are open: the slice's own condition bounds them.
    pub fn conditions(&self, points: &[String]) -> Vec<String> {
        let column = quote_ident(&self.column);
        let compare = |operator: &str, point: &String| {
            // Unquoted, a date is another type to a database of openGauss' A format.
            let of_type = quote_qualified("pg_catalog", &self.type_name);
            let value = format!("CAST({} AS {of_type})", quote_literal(point));
            format!("{column} {operator} {value}")
        };
        (0..=points.len())
            .map(|part| {
                let from = part.checked_sub(1).map(|before| compare(">=", &points[before]));
                let to = points.get(part).map(|point| compare("<", point));
                let both: Vec<String> = from.into_iter().chain(to).collect();
                both.join(" AND ")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_more_than_a_share_is_read_as_a_whole() {
        let count = |bytes, processes, each| count(bytes, Shares { processes, each });
        assert_eq!(count(SMALLEST_UNIT - 1, 8, 0), 1);
        assert_eq!(count(1 << 40, 1, 0), 1);
        assert_eq!(count(1 << 30, 4, 1 << 28), 16);
        assert_eq!(count(1 << 30, 4, 1 << 30), 1);
        assert_eq!(count(SMALLEST_UNIT, 4, 0), 4);
        assert_eq!(count(1 << 40, 4, 0), 1024);
        assert_eq!(count(i64::MAX, 4, 0), 4096);
        assert_eq!(count(i64::MIN, 4, 0), 1);
    }

    #[test]
    fn parts_of_a_range_meet_and_leave_nothing_out() {
        let cut = Cut {
            column: "d".to_owned(),
            type_name: "date".to_owned(),
            start: "2017-01-01".to_owned(),
            end: "2018-01-01".to_owned(),
            bytes: 0,
        };
        let points = ["2017-05-02".to_owned(), "2017-09-01".to_owned()];
        assert_eq!(
            cut.conditions(&points),
            [
                r#""d" < CAST('2017-05-02' AS "pg_catalog"."date")"#,
                r#""d" >= CAST('2017-05-02' AS "pg_catalog"."date") AND "d" < CAST('2017-09-01' AS "pg_catalog"."date")"#,
                r#""d" >= CAST('2017-09-01' AS "pg_catalog"."date")"#
            ]
        );
        assert!(cut.points_sql(3).contains("generate_series(1, 2)"));
    }

    #[test]
    fn pieces_of_blocks_meet_and_the_last_is_open() {
        assert_eq!(
            by_blocks(100, 3),
            [
                "ctid >= CAST('(0,0)' AS tid) AND ctid < CAST('(33,0)' AS tid)",
                "ctid >= CAST('(33,0)' AS tid) AND ctid < CAST('(66,0)' AS tid)",
                "ctid >= CAST('(66,0)' AS tid)"
            ]
        );
        assert_eq!(by_blocks(0, 4), ["ctid >= CAST('(0,0)' AS tid)"]);
    }

    proptest! {
        #[test]
        fn every_segment_is_in_one_piece(segments in 0usize..200, count in 1u32..40) {
            let all: Vec<i32> = (0..segments as i32).collect();
            let pieces = by_segments(&all, count);
            let mut named: Vec<i32> = pieces
                .iter()
                .flat_map(|p| p["gp_segment_id IN (".len()..p.len() - 1].split(", ").filter(|n| !n.is_empty()))
                .map(|n| n.parse().expect("a number"))
                .collect();
            named.sort_unstable();
            prop_assert_eq!(named, all);
            prop_assert!(segments == 0 || pieces.iter().all(|p| !p.ends_with("()")));
        }
    }
}
