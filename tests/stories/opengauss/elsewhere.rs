//! A target that is another server: rows go from socket to socket.

use crate::support::cluster::Cluster;
use crate::support::opengauss::Lab;

#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn rows_go_to_another_server_as_they_come() {
    let lab = Lab::new("beyond");
    let there = Cluster::source("");
    there.sql(&format!(
        "CREATE SCHEMA {0}; ALTER ROLE postgres SET search_path = {0}",
        lab.schema
    ));
    lab.here.sql(&format!(
        "CREATE SERVER dr FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '{}', dbname 'postgres');
         CREATE USER MAPPING FOR postgres SERVER dr OPTIONS (user 'postgres', password 'secret')",
        there.port
    ));
    lab.source.sql(
        "CREATE TABLE t (id int, d timestamp(0) NOT NULL, b blob, ti tinyint, r varchar(10)) PARTITION BY RANGE (d) SUBPARTITION BY LIST (r) (
           PARTITION p1 VALUES LESS THAN ('2024-02-01') (SUBPARTITION a1 VALUES ('de'), SUBPARTITION a2 VALUES (DEFAULT)),
           PARTITION p2 VALUES LESS THAN (MAXVALUE) (SUBPARTITION b1 VALUES ('de'), SUBPARTITION b2 VALUES (DEFAULT)));
         INSERT INTO t SELECT i, timestamp '2024-01-01' + (i % 60) * interval '1 day', 'AB01', i % 256, (ARRAY['de', NULL, 'us'])[1 + i % 3]
         FROM generate_series(1, 3000) i",
    );
    lab.told(&format!(
        "SELECT cgpsync_create_table('{}.t', source => 'prod', target => 'dr')",
        lab.schema
    ));
    let said = lab.told(&format!(
        "SELECT partition, status FROM cgpsync_sync('{}.t', '2100', 2)",
        lab.schema
    ));
    assert_eq!(said.0.len(), 4, "{said:?}");
    let content = "SELECT count(*) || ' ' || md5(string_agg(id || '/' || CAST(d AS varchar) || '/' || CAST(ti AS varchar), ',' ORDER BY id)) FROM t";
    assert_eq!(there.text(content), lab.source.text(content));
    assert_eq!(there.text("SELECT DISTINCT encode(b, 'hex') FROM t"), "ab01");
    assert_eq!(lab.here.text("SELECT format FROM cgpsync_run"), "binary");
    let verified = lab.told(&format!(
        "SELECT partition FROM cgpsync_verify('{}.t', method => 'checksum') WHERE NOT matches",
        lab.schema
    ));
    assert_eq!(verified.0, [""; 0]);
}
