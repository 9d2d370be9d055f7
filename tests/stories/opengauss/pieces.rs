//! A big partition.

use crate::support::opengauss::Lab;

#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn a_big_partition_is_read_in_pieces_by_all_workers() {
    let lab = Lab::new("pieces");
    lab.source.sql(
        "CREATE TABLE t (id int, d timestamp(0) NOT NULL, v text) PARTITION BY RANGE (d)
           (PARTITION p1 VALUES LESS THAN ('2024-02-01'), PARTITION p2 VALUES LESS THAN ('2024-03-01'));
         INSERT INTO t SELECT i, timestamp '2024-02-01' + (i % 29) * interval '1 day' + (i % 86400) * interval '1 second', repeat('x', 120) || i
         FROM generate_series(1, 600000) i",
    );
    lab.create("t");
    lab.sync("t");
    lab.is_same("t", &["id", "d"]);
    // A real date, which A format calls by its schema.
    lab.source.sql(
        "CREATE TABLE real_dates (id int, d pg_catalog.date NOT NULL, v text) PARTITION BY RANGE (d)
           (PARTITION p1 VALUES LESS THAN ('2024-02-01'), PARTITION p3 VALUES LESS THAN ('2024-03-01'));
         INSERT INTO real_dates SELECT id, CAST(d AS pg_catalog.date), v FROM t",
    );
    lab.create("real_dates");
    lab.sync("real_dates");
    lab.is_same("real_dates", &["id"]);
    let run = "FROM cgpsync_run_partition WHERE source_relation LIKE '%(\"p2\")'";
    assert_eq!(lab.here.text(&format!("SELECT processes {run}")), "3");
    assert_eq!(
        lab.here.text(&format!("SELECT processes {}", run.replace("p2", "p3"))),
        "3"
    );
    let told: i64 = lab
        .here
        .text(&format!("SELECT estimated_bytes {run}"))
        .parse()
        .expect("a size");
    assert!(told > 64 << 20, "{told}");
}
