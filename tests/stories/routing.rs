//! Rows end up where the target's own routing puts them: random partitionings on both sides (`partitionings.rs`), a sync, and a twin of
//! the target that gets the source's rows by INSERT.

use crate::support::Pair;
use crate::support::partitionings::{Case, create};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// On both sides: `feed` inserts those rows of `fed` that find a partition and gives the ids of the others.
const FEED: &str = "
    CREATE TABLE fed (id int, i int, s text, d date);
    CREATE FUNCTION feed(into_table text, ids int[]) RETURNS int[] LANGUAGE plpgsql AS $$
    DECLARE one fed; homeless int[] := '{}';
    BEGIN
      FOR one IN SELECT * FROM fed WHERE id = ANY (ids) LOOP
        BEGIN
          EXECUTE format('INSERT INTO %I (id, i, s, d) SELECT $1, $2, $3, $4', into_table) USING one.id, one.i, one.s, one.d;
        EXCEPTION WHEN check_violation THEN homeless := homeless || one.id;
        END;
      END LOOP;
      RETURN homeless;
    END $$";

/// On the target: `make_twin` makes w_t, partitioned as t is now; w_ leads the names of its partitions.
const TWIN: &str = "
    CREATE FUNCTION make_twin() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE one record;
    BEGIN
      DROP TABLE IF EXISTS w_t;
      FOR one IN SELECT p.relid::regclass::text AS name, p.parentrelid::regclass::text AS parent, p.level,
                        pg_get_expr(c.relpartbound, c.oid) AS bound, pg_get_partkeydef(c.oid) AS key
                 FROM pg_partition_tree('t') p JOIN pg_class c ON c.oid = p.relid ORDER BY p.level LOOP
        EXECUTE 'CREATE TABLE w_' || one.name
          || CASE one.level WHEN 0 THEN ' (id int, i int, s text, d date)' ELSE ' PARTITION OF w_' || one.parent || ' ' || one.bound END
          || COALESCE(' PARTITION BY ' || one.key, '');
      END LOOP;
    END $$";

/// Each row with its leaf, without what leads the name of a twin's.
const PLACES: &str =
    "SELECT regexp_replace(tableoid::regclass::text, '^w_', '') || ' ' || ROW(id, i, s, d)::text FROM @ ORDER BY id, 1";

fn prepare(pair: &Pair, case: &Case) {
    pair.both("SET client_min_messages = warning; DROP TABLE IF EXISTS t; TRUNCATE fed");
    pair.target.sql("TRUNCATE sync_table");
    pair.both(&case.rows());
    pair.source
        .sql(&create("(id int, i int, s text, d date)", case.source.as_ref(), 's'));
    // Another order of columns, and one that is gone.
    pair.target.sql(&create(
        "(d date, gone int, s text, i int, id int)",
        Some(&case.target),
        't',
    ));
    pair.target.sql("ALTER TABLE t DROP COLUMN gone");
    pair.source.sql("SELECT feed('t', array_agg(id)) FROM fed");
    if !case.create_missing {
        // To be replaced.
        pair.target
            .sql("SELECT feed('t', array_agg(id)) FROM fed WHERE id % 2 = 0");
    }
}

/// Makes the twin, compares it with the synced table unless `refused`, and gives the number of the source's rows that it does not accept.
fn compare(pair: &Pair, refused: bool) -> Result<usize, TestCaseError> {
    let ids = pair.source.text("SELECT COALESCE(array_agg(id), '{}') FROM t");
    pair.target.sql("SET client_min_messages = warning; SELECT make_twin()");
    let homeless = pair.target.list(&format!("SELECT unnest(feed('w_t', '{ids}'))"));
    if !refused {
        let synced = pair.target.list(&PLACES.replace('@', "t"));
        prop_assert_eq!(synced, pair.target.list(&PLACES.replace('@', "w_t")));
    }
    Ok(homeless.len())
}

fn holds(pair: &Pair, case: &Case) -> Result<(), TestCaseError> {
    prepare(pair, case);
    let call = |create_missing: bool| {
        let end_tm = case.target.beyond_everything();
        pair.sync(&format!(
            "'t', '{end_tm}', 2, create_missing => {create_missing}, vanished => 'empty'"
        ))
    };
    match call(case.create_missing) {
        Ok(_) => {
            let homeless = compare(pair, false)?;
            prop_assert!(
                !(case.create_missing && case.target_lacks_some) || homeless == 0,
                "{} rows have no place although every partition could be created",
                homeless
            );
        }
        Err(error) if case.create_missing && error.message().contains("overlaps partitions here") => {
            prop_assert_eq!(error.code().code(), "42P17");
            // Which rows a HASH partition takes cannot be asked.
            let is_hash = error.detail().is_some_and(|detail| detail.contains("MODULUS"));
            prop_assert!(
                compare(pair, true)? > 0 || is_hash,
                "refused though every row has a place: {:?}",
                error
            );
            let again = call(false);
            prop_assert!(again.is_ok(), "{:?}", again);
            compare(pair, false)?;
        }
        Err(error) => return Err(TestCaseError::fail(format!("{error:?}"))),
    }
    Ok(())
}

/// A number from the environment, for another or a longer round.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn every_row_is_where_the_targets_own_routing_puts_it() {
    let pair = Pair::new();
    pair.both(FEED);
    pair.target.sql(TWIN);
    let seed = setting("ROUTING_SEED", 20_170_201);
    let cases = setting("ROUTING_CASES", 80);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).expect("a number of cases"),
        failure_persistence: None,
        max_shrink_iters: 150,
        ..Config::default()
    };
    let tape = proptest::collection::vec(any::<u8>(), 300..1500);
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
        .run(&tape.prop_map(|tape| Case::read(&tape)), |case| holds(&pair, &case))
        .unwrap_or_else(|e| panic!("seed {seed} (set ROUTING_SEED for another): {e}"));
}
