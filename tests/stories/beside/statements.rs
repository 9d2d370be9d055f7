//! The statements, and what comes of each.

use super::scene::{Call, Gate};

/// A statement, or a line that runs a program.
pub struct Statement {
    /// as the table shows it
    pub shown: &'static str,
    pub sql: &'static str,
    /// the first version that knows it
    pub since: u32,
    /// a word for each gate; three, for SELECT, CALL and start, where they differ
    expected: [&'static str; 4],
    /// SQLSTATEs that it may end with beside any call
    pub fails: &'static [&'static str],
    /// SQLSTATEs that the run may end with, as it is no more what was planned
    pub breaks: &'static [&'static str],
    /// what the unit may hold beside old or new rows
    pub leaves: &'static [&'static str],
}

const fn s(sql: &'static str, expected: [&'static str; 4]) -> Statement {
    Statement {
        shown: sql,
        sql,
        since: 0,
        expected,
        fails: &[],
        breaks: &[],
        leaves: &[],
    }
}

impl Statement {
    const fn shown(mut self, shown: &'static str) -> Statement {
        self.shown = shown;
        self
    }

    const fn since(mut self, version: u32) -> Statement {
        self.since = version;
        self
    }

    const fn fails(mut self, fails: &'static [&'static str]) -> Statement {
        self.fails = fails;
        self
    }

    const fn breaks(mut self, breaks: &'static [&'static str]) -> Statement {
        self.breaks = breaks;
        self
    }

    const fn leaves(mut self, leaves: &'static [&'static str]) -> Statement {
        self.leaves = leaves;
        self
    }

    /// What is to come of it; words between strokes where it is a matter of moments.
    pub fn expected(&self, gate: Gate, call: Call) -> &'static str {
        let words = self.expected[gate as usize];
        let mut words = words.split(' ');
        let first = words.next().expect("a word");
        words.nth((call as usize).wrapping_sub(1)).unwrap_or(first)
    }
}

/// The table as tests/README.md shows it.
pub fn markdown() -> String {
    let mut table =
        "| statement | planning | load | last lock | ANALYZE |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for statement in STATEMENTS {
        let cells = statement.expected.map(|words| words.replace('|', "\\|"));
        table += &format!("| {} | {} |\n", statement.shown, cells.join(" | "));
    }
    table
}

/// In the order of the alphabet. The unit is t_1; t_2 is the run's next one, t_3 none of the run's.
pub const STATEMENTS: &[Statement] = &[
    s("ALTER TABLE t ADD COLUMN c int", [".", "w", "w", "w"]),
    s(
        "ALTER TABLE t ALTER v TYPE bigint",
        ["./55006", "w/55006", "w/55006", "w/55006"],
    )
    .breaks(&["55006"]),
    s(
        "ALTER TABLE t ALTER v TYPE real",
        ["./55006", "w/55006", "w/55006", "w/55006"],
    )
    .breaks(&["55006"]),
    s(
        "ALTER TABLE t DROP COLUMN note",
        ["./55006", "w/55006", "w/55006", "w/55006"],
    )
    .breaks(&["55006"]),
    s(
        "ALTER TABLE t RENAME COLUMN note TO text",
        ["./55006", "w/55006", "w/55006", "w/55006"],
    )
    .breaks(&["55006"]),
    s("ALTER TABLE t RENAME TO renamed", [".", "w", "w", "."]),
    s("ALTER TABLE t_1 SET (fillfactor = 90)", [".", "w", "w", "w"]),
    s("ALTER TABLE t_1 ALTER note SET STATISTICS 10", [".", "w", "w", "w"]),
    s("ALTER TABLE t_1 ADD CHECK (i >= 0) NOT VALID", [".", "w", "w", "w"]),
    s("ALTER TABLE t_1 OWNER TO someone", [".", "w", "w", "w"]),
    s("ALTER TABLE t_1 RENAME TO renamed", [".", "w", "w", "w"]),
    s("ALTER INDEX t_1_v_idx RENAME TO t_1_renamed", [".", ".", "w", "."]),
    s(
        "ALTER TABLE t ATTACH PARTITION loose FOR VALUES FROM (30) TO (40)",
        [".", ".", ".", "."],
    ),
    s("ALTER TABLE t DETACH PARTITION t_1", ["./55006", "w", "w", "w"]).breaks(&["55006"]),
    s(
        "ALTER TABLE t DETACH PARTITION t_1 CONCURRENTLY",
        ["./55006", "w", "w", "w"],
    )
    .since(14)
    .breaks(&["55006"]),
    s(
        "ALTER TABLE t DETACH PARTITION t_2",
        ["./55006", "w/55006", "w/55006", "./55006"],
    )
    .breaks(&["55006"]),
    s(
        "ALTER TABLE t DETACH PARTITION t_2 CONCURRENTLY",
        ["./55006", "w/55006", "w/55006", "./55006"],
    )
    .since(14)
    .breaks(&["55006"]),
    s("ALTER TABLE t DETACH PARTITION t_3", [".", "w", "w", "."]),
    s("ALTER TABLE t DETACH PARTITION t_3 CONCURRENTLY", [".", "w", "w", "."]).since(14),
    s("ANALYZE", [".", "w", "w", "w"]),
    s("ANALYZE t", [".", "w", "w", "w"]),
    s("ANALYZE t_1", [".", "w", "w", "w"]),
    s(
        "SELECT * FROM cgpsync_plan('t', '19', source_table => 'plain')",
        [".", ".", ".", "."],
    )
    .shown("cgpsync_plan"),
    s("SELECT cgpsync_prune('0 s')", [".", ".", ".", "."]).shown("cgpsync_prune"),
    s(
        "SELECT * FROM cgpsync_sync('t', '19', source_table => 'plain')",
        ["55006", "55006", "55006", "55006"],
    )
    .shown("cgpsync_sync of the same table")
    .fails(&["55006"]),
    s(
        "SELECT * FROM cgpsync_verify('t', '19', source_table => 'plain')",
        [".", ".", ".", "."],
    )
    .shown("cgpsync_verify"),
    s("CLUSTER t_1 USING t_1_v_idx", [".", "w", "w", "w"]),
    s("COMMENT ON TABLE t_1 IS 'a unit'", [".", "w", "w", "w"]),
    s("CREATE INDEX ON t (i)", [".", "w", "w", "w"]),
    s("CREATE INDEX ON t_1 (i)", [".", "w", "w", "w"]),
    s("CREATE INDEX CONCURRENTLY ON t_1 (i)", ["w/55006 w w", "w", "w", "w"]),
    s(
        "CREATE INDEX CONCURRENTLY ON t_2 (i)",
        ["w/55006 w w", "w/55006 w w", "w/55006 w w", "w/55006 w w"],
    ),
    s("CREATE INDEX CONCURRENTLY ON other (i)", ["w", "w", "w", "w"]),
    s(
        "CREATE PUBLICATION p FOR TABLE t_1; DROP PUBLICATION p",
        [".", "w", "w", "w"],
    )
    .shown("CREATE PUBLICATION FOR TABLE t_1"),
    s("CREATE STATISTICS s ON i, v FROM t_1", [".", "w", "w", "w"]).shown("CREATE STATISTICS ON i, v FROM t_1"),
    s(
        "CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM (30) TO (40)",
        [".", "w", "w", "."],
    )
    .shown("CREATE TABLE … PARTITION OF t"),
    s(
        "CREATE TRIGGER r BEFORE INSERT ON t_1 FOR EACH ROW EXECUTE FUNCTION nothing()",
        [".", "w", "w", "w"],
    )
    .shown("CREATE TRIGGER ON t_1"),
    s("CREATE VIEW w AS SELECT FROM t_1", [".", ".", ".", "."]).shown("CREATE VIEW AS SELECT FROM t_1"),
    s("DELETE FROM t_1 WHERE i = 3", [".", "w", ".", "."]).leaves(&["0:2", "1:20"]),
    s(
        "DROP EXTENSION cgpsync CASCADE",
        [
            "./42704|./55000 ./42704|./55000 ./42704|./55000|./gone",
            "./42704|./55000 ./42704|./55000 ./42704|./55000|./gone",
            "w/42704|w/55000 w/42704|w/55000 w/42704|w/55000|w/gone",
            "./42704|./55000 ./42704|./55000 ./42704|./55000|./gone",
        ],
    )
    .breaks(&["42704", "55000", "gone"]),
    s("DROP INDEX CONCURRENTLY t_1_own", [".", "w", "w", "w"]),
    s("DROP INDEX CONCURRENTLY t_2_own", [".", ".", ".", "."]),
    s("DROP INDEX t_v", [".", "w", "w", "w"]),
    s("DROP TABLE t CASCADE", ["./55006", "w/42P01", "w/42P01", "w/42P01"])
        .breaks(&["55006", "42P01"])
        .leaves(&["dropped"]),
    s("DROP TABLE t_1 CASCADE", ["./55006", "w", "w", "w"])
        .breaks(&["55006", "42P01"])
        .leaves(&["dropped"]),
    s("DROP TABLE t_2", ["./55006", "w/42P01", "w/42P01", "./42P01"]).breaks(&["55006", "42P01"]),
    s("DROP TABLE t_3", [".", "w", "w", "."]),
    s("GRANT SELECT ON t TO someone", [".", ".", ".", "."]),
    s("GRANT SELECT ON t_1 TO someone", [".", "wXX000", "wXX000", "."]).fails(&["XX000", "40P01"]),
    s("INSERT INTO t VALUES (4, 9)", [".", "w", ".", "."]).leaves(&["0:3 9:1", "1:21 9:1"]),
    s("INSERT INTO t_1 VALUES (4, 9)", [".", "w", ".", "."]).leaves(&["0:3 9:1", "1:21 9:1"]),
    s("BEGIN; LOCK TABLE t; COMMIT", [".", "w", "w", "w"]).shown("LOCK TABLE t"),
    s("BEGIN; LOCK TABLE t_1; COMMIT", [".", "w", "w", "w"]).shown("LOCK TABLE t_1"),
    s("BEGIN; LOCK TABLE cgpsync_run; COMMIT", [".", ".", ".", "."]).shown("LOCK TABLE cgpsync_run"),
    s("BEGIN; LOCK TABLE cgpsync_run_partition; COMMIT", [".", ".", "w", "."])
        .shown("LOCK TABLE cgpsync_run_partition"),
    s("BEGIN; LOCK TABLE sync_table; COMMIT", [".", ".", ".", "."]).shown("LOCK TABLE sync_table"),
    s("pg_basebackup -c fast -D DIR", [".", ".", ".", "."]).shown("pg_basebackup"),
    s("pg_dump -f /dev/null -d postgres", [".", ".", ".", "."]).shown("pg_dump"),
    s("pg_dump -Fd -j 2 -f DIR -d postgres", [".", ".", ".|failed", "."])
        .shown("pg_dump -Fd -j 2")
        .fails(&["failed"]),
    s("REFRESH MATERIALIZED VIEW seen", [".", ".", ".", "."]),
    s("REINDEX DATABASE postgres", [".", ".|w|w40P01", ".|w|w40P01", "w"]).fails(&["40P01"]),
    s("REINDEX INDEX CONCURRENTLY t_1_v_idx", ["w/55006 w w", "w", "w", "w"]),
    s("REINDEX SYSTEM postgres", [".", ".|w|w40P01", ".|w|w40P01", "."]).fails(&["40P01"]),
    s("REINDEX TABLE cgpsync_run", [".", ".", ".", "."]),
    s("REINDEX TABLE cgpsync_run_partition", [".", ".", "w", "."]),
    s("REINDEX TABLE CONCURRENTLY cgpsync_run", ["w", "w", "w", "w"]),
    s("REINDEX TABLE pg_class", [".", ".|w|w40P01", ".|w|w40P01", "."]).fails(&["40P01"]),
    s("REINDEX TABLE t_1", [".", "w", "w", "w"]),
    s("REINDEX TABLE CONCURRENTLY t_1", ["w/55006 w w", "w", "w", "w"]),
    s(
        "REINDEX TABLE CONCURRENTLY t_2",
        ["w/55006 w w", "w/55006 w w", "w/55006 w w", "w/55006 w w"],
    ),
    s("REVOKE SELECT ON t FROM sometwo", [".", ".", ".", "."]),
    s("REVOKE SELECT ON t_1 FROM sometwo", [".", "wXX000", "wXX000", "."]).fails(&["XX000", "40P01"]),
    s("SELECT count(*) FROM t", [".", ".", ".", "."]),
    s("SELECT i FROM t_1 FOR UPDATE", [".", ".", ".", "."]),
    s("TRUNCATE t", [".", "w", "w", "w"]).leaves(&[""]),
    s("TRUNCATE t_1", [".", "w", "w", "w"]).leaves(&[""]),
    s("TRUNCATE t_2", [".", ".", ".", "."]),
    s("TRUNCATE t_3", [".", ".", ".", "."]),
    s("UPDATE sync_table SET end_tm = end_tm", [".", ".", ".", "."]),
    s("UPDATE t_1 SET v = 9 WHERE i = 3", [".", "w", ".", "."]).leaves(&["0:2 9:1", "1:20 9:1"]),
    s("VACUUM", [".", "w", "w", "w"]),
    s("VACUUM t_1", [".", "w", "w", "w"]),
    s("VACUUM (FREEZE) t_1", [".", "w", "w", "w"]),
    s("VACUUM FULL cgpsync_run", [".", ".", ".", "."]),
    s("VACUUM FULL cgpsync_run_partition", [".", ".", "w", "."]),
    s("VACUUM FULL other", [".", ".", ".", "."]),
    s("VACUUM FULL pg_attribute", [".", ".", ".", "."]),
    s("VACUUM FULL pg_class", [".", ".", ".", "."]),
    s("VACUUM FULL pg_database", [".", ".", ".", "."]),
    s("VACUUM FULL pg_index", [".", ".", ".", "."]),
    s("VACUUM FULL pg_statistic", [".", ".", ".", "."]),
    s("VACUUM FULL sync_table", [".", ".", ".", "."]),
    s("VACUUM FULL t_1", [".", "w", "w", "w"]),
    s("VACUUM FULL", [".", "w", "w", "w"]),
];
