//! Statements for leaves as a running Greenplum 6.24.3 describes them (tests/fixtures/greenplum6_leaves.json).

use super::stage::Stage;
use super::{Described, obstacle};
use std::collections::HashMap;

const LEAVES: &str = include_str!("../../../tests/fixtures/greenplum6_leaves.json");

fn leaf(name: &str) -> Described {
    let mut leaves: HashMap<String, Described> = serde_json::from_str(LEAVES).expect("leaves");
    leaves.remove(name).expect("a leaf")
}

fn stage<'a>(unit: &'a Described, name: &str) -> Stage<'a> {
    Stage::new(unit, "dw", name, "_cgpsync_7_1".to_owned())
}

#[test]
fn a_leaf_below_two_levels_is_exchanged_by_the_table_above_all() {
    let unit = leaf("keyed");
    assert_eq!(obstacle(&unit, &[]), None);
    let stage = stage(&unit, "sales_1_prt_2_2_prt_1");
    let create = stage.create();
    // The bound of a partition is a CHECK of its own there: what belongs elsewhere fails in the COPY.
    assert_eq!(
        create[1],
        "CREATE TABLE \"dw\".\"_cgpsync_7_1\" (\"id\" integer NOT NULL, \"day\" date NOT NULL, \"region\" text NOT NULL, \
         \"note\" text DEFAULT 'none'::text, \
         CONSTRAINT \"sales_1_prt_2_2_prt_1_check\" CHECK (((region = 'de'::text) OR (region = 'fr'::text))), \
         CONSTRAINT \"sales_1_prt_2_check\" CHECK (((day >= '2016-02-01'::date) AND (day < '2016-03-01'::date)))) \
         WITH (\"appendonly\" = 'false') DISTRIBUTED BY (id)"
    );
    assert_eq!(
        create.last().expect("a comment"),
        "COMMENT ON TABLE \"dw\".\"_cgpsync_7_1\" IS 'it''s small'"
    );
    assert_eq!(
        stage
            .build_indexes()
            .into_iter()
            .filter(|sql| !sql.starts_with("SET LOCAL"))
            .collect::<Vec<_>>(),
        [
            "ALTER TABLE \"dw\".\"_cgpsync_7_1\" ADD CONSTRAINT \"_cgpsync_7_1_0\" PRIMARY KEY (id, day, region)",
            "CREATE INDEX \"_cgpsync_7_1_1\" ON \"dw\".\"_cgpsync_7_1\" USING bitmap (note)",
        ]
    );
    assert_eq!(
        stage.lock(),
        "LOCK TABLE ONLY \"dw\".\"sales\", ONLY \"dw\".\"sales_1_prt_2\", ONLY \"dw\".\"sales_1_prt_2_2_prt_1\" IN ACCESS EXCLUSIVE MODE"
    );
    assert_eq!(stage.locks(), 3);
    assert_eq!(
        stage.take_place(),
        [
            "ALTER TABLE \"dw\".\"sales\" ALTER PARTITION FOR (RANK(2)) EXCHANGE PARTITION FOR ('de') WITH TABLE \"dw\".\"_cgpsync_7_1\" \
             WITHOUT VALIDATION",
            "DROP TABLE \"dw\".\"_cgpsync_7_1\" RESTRICT",
            "ALTER INDEX IF EXISTS \"dw\".\"_cgpsync_7_1_0\" RENAME TO \"sales_1_prt_2_2_prt_1_pkey\"",
            "ALTER INDEX IF EXISTS \"dw\".\"_cgpsync_7_1_1\" RENAME TO \"sales_1_prt_2_2_prt_1_note_idx\"",
        ]
    );
    assert_eq!(
        unit.place
            .bounds_below("\"dw\".\"sales_1_prt_2_2_prt_1\"", "\"dw\".\"sales\"")
            .as_deref(),
        Some(
            "VALUES ('de'::text, 'fr'::text); START ('2016-02-01'::date) INCLUSIVE END ('2016-03-01'::date) EXCLUSIVE "
        )
    );
}

#[test]
fn an_append_optimized_leaf_keeps_how_each_column_is_stored() {
    let unit = leaf("columns");
    assert_eq!((obstacle(&unit, &[]), unit.facts.method.as_str()), (None, "ao_column"));
    assert_eq!(
        stage(&unit, "events_1_prt_2").create()[1],
        "CREATE TABLE \"dw\".\"_cgpsync_7_1\" (\
         \"id\" integer ENCODING (\"compresstype\" = 'zstd', \"compresslevel\" = '3', \"blocksize\" = '32768'), \
         \"day\" date ENCODING (\"compresstype\" = 'zstd', \"compresslevel\" = '3', \"blocksize\" = '32768'), \
         \"note\" text ENCODING (\"compresstype\" = 'zlib', \"compresslevel\" = '7', \"blocksize\" = '32768'), \
         CONSTRAINT \"events_1_prt_2_check\" CHECK (((day >= '2016-01-01'::date) AND (day < '2016-02-01'::date)))) \
         WITH (\"appendonly\" = 'true', \"orientation\" = 'column', \"compresstype\" = 'zstd', \"compresslevel\" = '3') DISTRIBUTED RANDOMLY"
    );
}

#[test]
fn a_default_partition_is_exchanged_by_name() {
    let unit = leaf("default");
    assert_eq!(obstacle(&unit, &[]), None);
    let statements = stage(&unit, "events_1_prt_the rest").take_place();
    assert!(unit.place.is_classic_default());
    assert_eq!(
        statements[0],
        "ALTER TABLE \"dw\".\"events\" EXCHANGE PARTITION \"the rest\" WITH TABLE \"dw\".\"_cgpsync_7_1\" WITHOUT VALIDATION"
    );
}

#[test]
fn what_is_not_known_by_a_name_or_stored_otherwise_is_truncated() {
    let mut unit = leaf("keyed");
    unit.place.steps[1].values = None;
    assert!(obstacle(&unit, &[]).is_some_and(|reason| reason.starts_with("no name, rank or value")));
    let mut unit = leaf("columns");
    unit.facts.method = "pax".to_owned();
    assert!(obstacle(&unit, &[]).is_some_and(|reason| reason.contains("access method is pax")));
    // Of a server without segments only heap is made.
    let mut unit = leaf("columns");
    unit.shape.spread = None;
    assert!(obstacle(&unit, &[]).is_some());
}

#[test]
fn a_table_that_differs_in_distribution_does_not_take_the_place() {
    let unit = leaf("keyed");
    let stage = stage(&unit, "sales_1_prt_2_2_prt_1");
    let mut made = unit.shape.clone();
    assert_eq!(stage.difference(&made), None);
    made.spread.as_mut().expect("segments").segments = 3;
    assert_eq!(
        stage.difference(&made).as_deref(),
        Some("its distribution cannot be kept")
    );
}

#[test]
fn a_constraint_that_is_not_valid_stays_so() {
    let mut unit = leaf("columns");
    unit.shape.checks[0].definition += " NOT VALID";
    let create = stage(&unit, "events_1_prt_2").create();
    assert!(!create[1].contains("CHECK"), "{}", create[1]);
    assert!(
        create[2].starts_with("ALTER TABLE") && create[2].ends_with(" NOT VALID"),
        "{}",
        create[2]
    );
}
