//! Where partitions go that are created here, what they are called, and who may do what with them.

use crate::support::Pair;

/// A table of which each year's partitions are in a schema of their own, with the same names in each.
fn years(pair: &Pair) {
    pair.source.sql(
        "CREATE SCHEMA y2016; CREATE SCHEMA y2017; CREATE SCHEMA y2018;
         CREATE TABLE t (id int, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE y2016.m01 PARTITION OF t FOR VALUES FROM ('2016-01-01') TO ('2016-02-01');
         CREATE TABLE y2017.m01 PARTITION OF t FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
         CREATE TABLE y2018.m01 PARTITION OF t FOR VALUES FROM ('2018-01-01') TO ('2018-02-01');
         INSERT INTO t SELECT g, date '2016-01-01' + g % 31 FROM generate_series(1, 31) g;
         INSERT INTO t SELECT g, date '2017-01-01' + g % 31 FROM generate_series(1, 62) g;
         INSERT INTO t SELECT g, date '2018-01-01' + g % 31 FROM generate_series(1, 93) g",
    );
}

fn counts(pair: &Pair, table: &str) -> Vec<String> {
    pair.target.list(&format!(
        "SELECT tableoid::regclass || ' ' || count(*) FROM {table} GROUP BY tableoid ORDER BY 1"
    ))
}

#[test]
fn a_schema_of_the_sources_is_used_where_it_exists_and_the_siblings_where_not() {
    let pair = Pair::new();
    years(&pair);
    pair.target.sql(
        "CREATE SCHEMA y2016; CREATE SCHEMA y2017; CREATE TABLE m01 (note text);
         CREATE TABLE byhand (id int, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE y2016.m01 PARTITION OF byhand FOR VALUES FROM ('2016-01-01') TO ('2016-02-01')",
    );
    let (mut client, notices) = pair.target.connect_with_notices();
    client
        .batch_execute("SELECT cgpsync_create_table('t')")
        .expect("a table");
    let told = notices.lock().expect("a lock").join("\n");
    for (theirs, ours) in [("y2016", "\"y2016\".\"m01_1\""), ("y2018", "\"public\".\"m01_1\"")] {
        let said = format!("partition \"{theirs}\".\"m01\" of the source is called {ours} here: its own name is taken");
        assert!(told.contains(&said), "{told}");
    }
    assert_eq!(pair.copied("'t', '2018'").len(), 3);
    assert_eq!(counts(&pair, "t"), ["m01_1 93", "y2016.m01_1 31", "y2017.m01 62"]);
    // Of those that a run creates one is in the schema that exists, the other beside the one that was there.
    assert_eq!(pair.copied("'byhand', '2018', source_table => 't'").len(), 3);
    assert_eq!(
        counts(&pair, "byhand"),
        ["y2016.m01 31", "y2016.m01_2 93", "y2017.m01_1 62"]
    );
    // The next night finds them by their bounds.
    assert_eq!(
        pair.copied("'byhand', '2018', since => '20160101', source_table => 't'")
            .len(),
        3
    );
    assert_eq!(counts(&pair, "byhand").len(), 3);
}

#[test]
fn a_partition_goes_where_its_siblings_were_moved_to() {
    let pair = Pair::new();
    pair.persons(2);
    pair.target.sql(
        "CREATE SCHEMA parts; DROP TABLE persons_201703;
         ALTER TABLE persons_201701 SET SCHEMA parts; ALTER TABLE persons_201702 SET SCHEMA parts",
    );
    pair.copied("'persons', '201703'");
    assert_eq!(
        pair.target
            .text("SELECT 'parts.persons_201703'::regclass::oid IN (SELECT inhrelid FROM pg_inherits)"),
        "t"
    );
}

#[test]
fn a_new_partition_has_the_grants_of_the_one_before_it_so_the_next_night_goes_on() {
    let pair = Pair::new();
    pair.source.sql("CREATE ROLE reader LOGIN PASSWORD 'r'");
    pair.persons(2);
    pair.source.sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader");
    pair.target.sql(
        "DROP TABLE persons_201703, persons_201704; CREATE ROLE loader LOGIN; CREATE ROLE looker;
         GRANT INSERT, TRUNCATE ON persons, persons_201701, persons_201702 TO loader; GRANT SELECT ON persons_201702 TO looker WITH GRANT OPTION;
         GRANT SELECT (id), UPDATE (note) ON persons_201702 TO PUBLIC; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r');
         GRANT DELETE ON persons_201705 TO looker",
    );
    let acl = |table: &str| {
        pair.target.text(&format!(
            "SELECT (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM pg_class, unnest(relacl) a WHERE oid = '{table}'::regclass) || ' | ' ||
                    (SELECT string_agg(attname || attacl::text, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attacl IS NOT NULL)"
        ))
    };
    // The owner's night creates March; the next one is the plain role's.
    pair.copied("'persons', '20170301'");
    assert_eq!(acl("persons_201703"), acl("persons_201702"));
    let mut loader = pair.target.connect_as("loader");
    pair.sync_as(&mut loader, "'persons', '20170302'")
        .expect("the plain role's night");
    // Where rows of the sibling are hidden from some, its grants would show those of the new one to them.
    pair.target.sql("ALTER TABLE persons_201703 ENABLE ROW LEVEL SECURITY");
    pair.copied("'persons', '20170401'");
    assert_eq!(
        pair.target
            .text("SELECT relacl IS NULL FROM pg_class WHERE relname = 'persons_201704'"),
        "t"
    );
}
