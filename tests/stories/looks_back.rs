//! Code that runs for each row and looks for others of the same partition finds them by the partition's indexes while it is swapped, too.

use crate::support::{Pair, swapped};

const ROWS: u32 = 3000;

/// How often partition `name` was scanned from end to end.
fn scans(pair: &Pair, name: &str) -> i64 {
    let scans = pair.target.text(&format!(
        "SELECT COALESCE(sum(seq_scan), 0) FROM pg_stat_user_tables WHERE relname = '{name}'"
    ));
    scans.parse().expect("a number")
}

/// Syncs `table` by a swap. It must not scan partition `name` for each row.
fn swaps(pair: &Pair, table: &str, name: &str) {
    let before = scans(pair, name);
    assert_eq!(
        pair.copied(&format!("'{table}', '1', replace => 'swap', since => '0'")),
        [name]
    );
    let after = scans(pair, name) - before;
    assert!(after < 20, "{after} scans of {name}");
    assert_eq!(
        pair.target
            .text("SELECT way FROM cgpsync_run_partition ORDER BY run_id DESC LIMIT 1"),
        "swap"
    );
    pair.same_rows(table, "true");
    swapped::is_sound(&pair.target, name);
}

#[test]
fn a_foreign_key_to_the_table_itself_is_checked_by_its_index() {
    let pair = Pair::new();
    swapped::checks(&pair.target);
    pair.both("CREATE TABLE boss (id int PRIMARY KEY, boss int REFERENCES boss, name text)");
    pair.source.sql(&format!(
        "INSERT INTO boss SELECT g, NULLIF(g / 2, 0), 'n' || g FROM generate_series(1, {ROWS}) g"
    ));
    swaps(&pair, "boss", "boss");
    // Again, over rows that are there. What is wrong is refused, and the old rows stay.
    swaps(&pair, "boss", "boss");
    pair.source
        .sql("ALTER TABLE boss DROP CONSTRAINT boss_boss_fkey; DELETE FROM boss WHERE id = 7");
    let error = pair
        .sync("'boss', '1', replace => 'swap'")
        .expect_err("a row without its boss");
    assert_eq!(error.code().code(), "23503", "{error:?}");
    assert_eq!(pair.target.text("SELECT count(*) FROM boss"), ROWS.to_string());
}

#[test]
fn triggers_that_look_for_other_rows_find_them_by_their_indexes() {
    let pair = Pair::new();
    swapped::checks(&pair.target);
    pair.both(
        "CREATE TABLE linked (id int PRIMARY KEY, t text);
         CREATE TABLE filled (id int PRIMARY KEY, t text)",
    );
    for table in ["linked", "filled"] {
        pair.source.sql(&format!(
            "INSERT INTO {table} SELECT g, 'x' FROM generate_series(1, {ROWS}) g"
        ));
    }
    pair.target.sql(
        "CREATE FUNCTION looks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM FROM public.linked WHERE id = NEW.id - 1; RETURN NEW; END $$;
         CREATE TRIGGER looks BEFORE INSERT ON linked FOR EACH ROW EXECUTE FUNCTION looks();
         CREATE FUNCTION fills() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           INSERT INTO public.filled VALUES (NEW.id, 'again') ON CONFLICT (id) DO NOTHING; RETURN NULL; END $$;
         CREATE TRIGGER fills AFTER INSERT ON filled FOR EACH ROW WHEN (NEW.id < 10 AND NEW.t = 'x') EXECUTE FUNCTION fills()",
    );
    swaps(&pair, "linked", "linked");
    swaps(&pair, "filled", "filled");
}

#[test]
fn a_check_that_looks_into_the_table_is_as_good() {
    let pair = Pair::new();
    swapped::checks(&pair.target);
    pair.both("CREATE TABLE checked (id int PRIMARY KEY, t text)");
    pair.source.sql(&format!(
        "INSERT INTO checked SELECT g, 'x' FROM generate_series(1, {ROWS}) g"
    ));
    pair.target.sql(
        "CREATE FUNCTION few(i int) RETURNS bool LANGUAGE plpgsql STABLE AS $$ BEGIN
           RETURN NOT EXISTS (SELECT FROM public.checked WHERE id = i + 1000000); END $$;
         CREATE DOMAIN watched AS int CHECK (few(VALUE)); ALTER TABLE checked ALTER id TYPE watched",
    );
    swaps(&pair, "checked", "checked");
}

#[test]
fn so_do_triggers_of_the_table_above() {
    let pair = Pair::new();
    swapped::checks(&pair.target);
    pair.both(
        "CREATE TABLE tree (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
         CREATE TABLE tree_1 PARTITION OF tree FOR VALUES IN (1)",
    );
    pair.source.sql(&format!(
        "INSERT INTO tree SELECT g, 1 FROM generate_series(1, {ROWS}) g"
    ));
    pair.target.sql(
        "CREATE FUNCTION looks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           PERFORM FROM public.tree_1 WHERE id = NEW.id - 1; RETURN NULL; END $$;
         CREATE TRIGGER looks AFTER INSERT ON tree FOR EACH ROW EXECUTE FUNCTION looks()",
    );
    swaps(&pair, "tree", "tree_1");
}
