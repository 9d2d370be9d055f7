//! Bounds as somebody has typed them.

use crate::support::opengauss::Lab;

fn make(lab: &Lab, bound: &str) {
    lab.source.sql(&format!(
        "SET datestyle = 'ISO, DMY';
         CREATE TABLE t (id int, d timestamp(0) NOT NULL) PARTITION BY RANGE (d)
           (PARTITION a VALUES LESS THAN ('{bound}'), PARTITION b VALUES LESS THAN ('2025-03-01'), PARTITION c VALUES LESS THAN (MAXVALUE))"
    ));
}

#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn a_bound_that_two_countries_read_differently_is_confirmed_by_the_rows() {
    let lab = Lab::new("typed");
    make(&lab, "01/02/2024");
    lab.source
        .sql("INSERT INTO t VALUES (1, '2024-01-01'), (2, '2024-05-05'), (3, '2026-01-01')");
    lab.create("t");
    lab.sync("t");
    lab.is_same("t", &["id", "d"]);
    // Where no partition here is like one there, conditions do not meet the bounds.
    lab.here.sql(
        "CREATE TABLE sliced (id int, d timestamp(0)) PARTITION BY RANGE (d);
         CREATE TABLE sliced_1 PARTITION OF sliced FOR VALUES FROM (MINVALUE) TO ('2024-03-15');
         CREATE TABLE sliced_2 PARTITION OF sliced FOR VALUES FROM ('2024-03-15') TO (MAXVALUE)",
    );
    lab.told(&format!(
        "SELECT * FROM cgpsync_sync('{0}.sliced', '2100', source_table => '{0}.t')",
        lab.schema
    ));
    assert_eq!(
        lab.here
            .text("SELECT string_agg(id::text, ' ' ORDER BY id) FROM sliced"),
        "1 2 3"
    );
    let filters = lab
        .here
        .text("SELECT string_agg(source_filter, ' ') FROM cgpsync_run_partition");
    assert!(filters.contains("\"d\" + interval '0'"), "{filters}");
    // A row that is in the partition only if the day stands first.
    lab.source.sql("INSERT INTO t VALUES (4, '2024-01-20')");
    let is_misplaced = lab.source.text("SELECT count(*) FROM t PARTITION (a)") == "2";
    let again = lab.call(&format!(
        "SELECT * FROM cgpsync_sync('{}.t', '2100', since => '1900')",
        lab.schema
    ));
    match is_misplaced {
        true => {
            let error = again.expect_err("a bound that is read in two ways");
            assert_eq!(error.code().code(), "22008", "{error:?}");
            assert!(
                error.message().contains("'01/02/2024'") && error.message().contains("PARTITION (\"a\")"),
                "{error:?}"
            );
        }
        false => {
            again.expect("a sync");
            lab.is_same("t", &["id", "d"]);
        }
    }
}

#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn a_bound_that_cannot_be_read_is_named() {
    let lab = Lab::new("unread");
    make(&lab, "31/12/2024");
    let error = lab
        .call(&format!("SELECT cgpsync_create_table('{}.t')", lab.schema))
        .expect_err("a bound that cannot be read");
    assert_eq!(error.code().code(), "22008", "{error:?}");
    assert!(
        error.message().contains("'31/12/2024'") && error.message().contains("PARTITION (\"a\")"),
        "{error:?}"
    );
}
