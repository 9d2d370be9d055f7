//! How far a run is, seen from another session.

use crate::support::Pair;

fn number(row: &postgres::Row, column: &str) -> f64 {
    row.get::<_, Option<f64>>(column).unwrap_or(0.0)
}

#[test]
fn progress_shows_a_run_while_it_is_on_and_never_goes_backwards() {
    let pair = Pair::new();
    pair.persons(400);
    pair.source.sql(
        "CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
         CREATE VIEW slow AS SELECT id, name, born, note || COALESCE(pg_sleep(0.001)::text, '') AS note FROM persons;
         GRANT SELECT ON slow TO reader; ANALYZE",
    );
    pair.target.sql(
        "CREATE ROLE loader LOGIN; GRANT USAGE ON FOREIGN SERVER src TO loader;
         CREATE USER MAPPING FOR loader SERVER src OPTIONS (user 'reader', password 'r'); ALTER TABLE persons OWNER TO loader;
         DO $$ DECLARE c regclass; BEGIN FOR c IN SELECT inhrelid::regclass FROM pg_inherits LOOP
           EXECUTE format('ALTER TABLE %s OWNER TO loader', c); END LOOP; END $$",
    );
    let mut loader = pair.target.connect_as("loader");
    let run_id: i64 = loader
        .query_one(
            "SELECT cgpsync_start('persons', '20171231', 2, source_table => 'slow')",
            &[],
        )
        .expect("a run")
        .get(0);
    let sql = "SELECT run_id, status, table_name, source, units_done, units_total, rows, bytes_done, workers, copying, eta IS NOT NULL AS has_eta,
                      percent::float8 AS percent, mb_per_s::float8 AS mb_per_s FROM cgpsync_progress";
    let mut last = (0.0, 0i64, 0i64, 0i64);
    let (mut looks, mut most_workers, mut with_eta) = (0, 0, false);
    loop {
        let rows = loader.query(sql, &[]).expect("progress");
        let Some(row) = rows.first() else {
            // Nothing to see while it begins; nothing any more when it has ended.
            let status = loader
                .query_one("SELECT status FROM cgpsync_run WHERE run_id = $1", &[&run_id])
                .expect("a run")
                .get::<_, String>(0);
            if status == "done" {
                break;
            }
            assert!(status == "planning" || status == "running", "{status}");
            continue;
        };
        assert_eq!(row.get::<_, i64>("run_id"), run_id);
        if row.get::<_, String>("status") == "planning" {
            continue;
        }
        assert_eq!(row.get::<_, &str>("table_name"), "persons");
        assert_eq!(row.get::<_, Option<i32>>("units_total"), Some(12));
        // A run that ends during the look is not shown, rather than without figures.
        assert!(row.get::<_, Option<i64>>("rows").is_some(), "running, but no figures");
        let count = |column: &str| row.get::<_, Option<i64>>(column).unwrap_or(0);
        let now = (
            number(row, "percent"),
            count("rows"),
            count("bytes_done"),
            count("units_done"),
        );
        assert!(
            now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2 && now.3 >= last.3,
            "{last:?} then {now:?}"
        );
        last = now;
        looks += 1;
        most_workers = most_workers.max(count("workers"));
        with_eta |= row.get::<_, bool>("has_eta");
        if let Some(copying) = row.get::<_, Option<Vec<String>>>("copying") {
            assert!(
                copying.iter().all(|unit| unit.starts_with("persons_2017")),
                "{copying:?}"
            );
        }
    }
    assert!(
        looks > 10 && most_workers == 2 && with_eta,
        "{looks} {most_workers} {with_eta}"
    );
    assert!(last.0 > 50.0 && last.1 > 2000, "{last:?}");
    assert_eq!(pair.target.text("SELECT count(*) FROM cgpsync_progress"), "0");
    let total: i64 = loader
        .query_one("SELECT rows FROM cgpsync_run WHERE run_id = $1", &[&run_id])
        .expect("a run")
        .get(0);
    assert_eq!(total, 4800);
}
