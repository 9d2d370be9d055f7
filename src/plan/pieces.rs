//! A big unit in pieces that several processes can load: which rows of the source each of them reads.

/// Below this a unit is read as a whole.
pub const SMALLEST_UNIT: i64 = 64 << 20;
const SMALLEST_PIECE: i64 = 16 << 20;
const LARGEST_PIECE: i64 = 1 << 30;
/// Pieces for each process, so that none has long to wait for the last one.
const PIECES_EACH: i64 = 4;

/// How many pieces a unit of `bytes` makes for `processes`; 1: read it as a whole.
pub fn count(bytes: i64, processes: u32) -> u32 {
    if bytes < SMALLEST_UNIT || processes < 2 {
        return 1;
    }
    let piece = (bytes / (i64::from(processes) * PIECES_EACH)).clamp(SMALLEST_PIECE, LARGEST_PIECE);
    u32::try_from(bytes / piece).unwrap_or(u32::MAX).max(1)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_units_and_lone_workers_read_as_a_whole() {
        assert_eq!(count(SMALLEST_UNIT - 1, 8), 1);
        assert_eq!(count(1 << 40, 1), 1);
        assert_eq!(count(1 << 30, 4), 16);
        assert_eq!(count(SMALLEST_UNIT, 4), 4);
        assert_eq!(count(1 << 40, 4), 1024);
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
