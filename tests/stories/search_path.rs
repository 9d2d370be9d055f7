//! Functions of users that find what they name by way of search_path, wherever a row sets them off.

use crate::support::trio::Trio;
use crate::support::{Pair, swapped};
use postgres::error::DbError;

/// Functions in schema `lib`, which is in the database's search_path; and `far.fold`, whose helper is in a schema that is not.
const FUNCTIONS: &str = "
    CREATE SCHEMA lib; CREATE SCHEMA far; CREATE SCHEMA farther;
    CREATE FUNCTION lib.strip(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN replace($1, ' ', ''); END $$;
    CREATE FUNCTION lib.fold(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower(strip($1)); END $$;
    CREATE FUNCTION lib.year(date) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN length(strip(to_char($1, 'YY Y Y'))); END $$;
    CREATE FUNCTION lib.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := strip(NEW.name); RETURN NEW; END $$;
    CREATE FUNCTION farther.strip2(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN replace($1, ' ', ''); END $$;
    CREATE FUNCTION far.fold(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN lower(strip2($1)); END $$;
    CREATE FUNCTION far.stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.note := strip2(NEW.name); RETURN NEW; END $$;
    CREATE DOMAIN lib.folded AS text CHECK (lib.fold(VALUE) <> '');
    CREATE DOMAIN far.folded AS text CHECK (far.fold(VALUE) <> '');
    ALTER DATABASE postgres SET search_path = public, lib";

fn pair() -> Pair {
    let pair = Pair::new();
    pair.target.sql(FUNCTIONS);
    pair.source
        .sql("CREATE TABLE t (id int, name text, note text); INSERT INTO t SELECT g, 'Name ' || g, 'n' FROM generate_series(1, 100) g");
    pair
}

/// Tables whose rows set `{fold}` and the like off, by what calls it: what makes one, and what names it in an error.
const PLACES: [(&str, &str, &str); 6] = [
    (
        "an index",
        "CREATE TABLE {t} (id int, name text, note text); CREATE INDEX {t}_idx ON {t} ({s}.fold(name))",
        "index public.{t}_idx",
    ),
    (
        "a predicate",
        "CREATE TABLE {t} (id int, name text, note text); CREATE INDEX {t}_idx ON {t} (id) WHERE {s}.fold(name) <> ''",
        "index public.{t}_idx",
    ),
    (
        "a CHECK",
        "CREATE TABLE {t} (id int, name text CONSTRAINT {t}_check CHECK ({s}.fold(name) <> ''), note text)",
        "constraint {t}_check",
    ),
    (
        "a generated column",
        "CREATE TABLE {t} (id int, name text, note text, folded text GENERATED ALWAYS AS ({s}.fold(name)) STORED)",
        "generated column folded",
    ),
    (
        "a domain",
        "CREATE TABLE {t} (id int, name {s}.folded, note text)",
        "of domain {s}.folded",
    ),
    (
        "a trigger",
        "CREATE TABLE {t} (id int, name text, note text);
         CREATE TRIGGER {t}_stamp BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION {s}.stamp()",
        "trigger {t}_stamp",
    ),
];

fn filled(template: &str, table: &str, schema: &str) -> String {
    template.replace("{t}", table).replace("{s}", schema)
}

/// What the hint says, without its last clause.
fn advice(error: &DbError) -> String {
    let detail = error.detail().expect("a detail");
    let at = detail
        .find("ALTER FUNCTION")
        .unwrap_or_else(|| panic!("no advice: {detail}"));
    let end = detail[at..].find("; with").expect("its end");
    detail[at..at + end].to_owned()
}

#[test]
fn they_find_what_the_roles_own_search_path_leads_to() {
    let pair = pair();
    for (at, (place, table, by)) in PLACES.iter().enumerate() {
        let name = format!("own{at}");
        pair.target.sql(&filled(table, &name, "lib"));
        if by.starts_with("index") && swapped::major(&pair.target) >= 17 {
            // From there on the server builds indexes without it, whoever owns them.
            let error = pair.sync(&format!("'{name}', source_table => 't'")).expect_err(place);
            assert!(
                error.detail().is_some_and(|d| d.contains("nothing was copied yet")),
                "{error:?}"
            );
            continue;
        }
        let (units, told) = pair.told(&format!("'{name}', source_table => 't'"));
        assert_eq!(units.len(), 1, "{place}");
        assert!(!told.contains("not analyzed"), "{place}: {told}");
        assert_eq!(
            pair.target.text(&format!("SELECT count(*) FROM {name}")),
            "100",
            "{place}"
        );
    }
    // What TRUNCATE sets off as well.
    pair.target.sql(
        "CREATE FUNCTION lib.emptied() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM strip('a b'); RETURN NULL; END $$;
         CREATE TABLE emptied (id int, name text, note text);
         CREATE TRIGGER emptied BEFORE TRUNCATE ON emptied EXECUTE FUNCTION lib.emptied()",
    );
    pair.copied("'emptied', source_table => 't'");
    // The key of a partition as well, and its statistics.
    pair.source.sql(FUNCTIONS);
    pair.both(
        "CREATE TABLE parts (id int, d date) PARTITION BY LIST (lib.year(d));
         CREATE TABLE parts_4 PARTITION OF parts FOR VALUES IN (4)",
    );
    pair.source
        .sql("INSERT INTO parts SELECT g AS id, date '2017-01-01' + g AS d FROM generate_series(1, 50) g");
    pair.copied("'parts'");
    assert_eq!(pair.target.text("SELECT count(*) FROM parts_4"), "50");
}

#[test]
fn what_they_do_not_find_is_named_with_what_helps_and_that_helps() {
    let pair = pair();
    for (at, (place, table, by)) in PLACES.iter().enumerate() {
        let name = format!("other{at}");
        pair.target.sql(&filled(table, &name, "far"));
        let call = format!("'{name}', source_table => 't'");
        let error = pair.sync(&call).expect_err(place);
        assert_eq!(error.code().code(), "42883", "{place}: {error:?}");
        let detail = error.detail().expect("a detail");
        assert!(
            detail.contains("is called by") && detail.contains(&filled(by, &name, "far")),
            "{place}: {detail}"
        );
        assert!(
            detail.contains("PL/pgSQL function far."),
            "{place}: no CONTEXT in {detail}"
        );
        // An index is built when all is there: its functions are tried before.
        let is_tried = detail.contains("nothing was copied yet");
        assert_eq!(is_tried, by.starts_with("index"), "{place}: {detail}");
        let advice = advice(&error);
        assert!(advice.ends_with("SET search_path = \"farther\""), "{advice}");
        pair.target.sql(&advice);
        pair.copied(&call);
        assert_eq!(
            pair.target.text(&format!("SELECT count(*) FROM {name}")),
            "100",
            "{place}"
        );
        pair.target
            .sql("ALTER FUNCTION far.fold(text) RESET search_path; ALTER FUNCTION far.stamp() RESET search_path");
    }
}

#[test]
fn the_owners_index_does_not_follow_the_search_path_of_somebody_else() {
    let pair = pair();
    pair.source
        .sql("CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON t TO reader");
    pair.target.sql(
        "CREATE TABLE t (id int, name text, note text); CREATE INDEX t_fold ON t (lib.fold(name));
         CREATE ROLE sly LOGIN; GRANT INSERT, TRUNCATE ON t TO sly; GRANT USAGE ON FOREIGN SERVER src TO sly; GRANT USAGE ON SCHEMA lib TO sly;
         CREATE USER MAPPING FOR sly SERVER src OPTIONS (user 'reader', password 'r');
         CREATE SCHEMA sly AUTHORIZATION sly; CREATE TABLE sly.caught (who name); ALTER TABLE sly.caught OWNER TO sly;
         GRANT INSERT ON sly.caught TO PUBLIC; GRANT USAGE ON SCHEMA sly TO PUBLIC;
         ALTER ROLE sly SET search_path = sly, lib, public",
    );
    let mut sly = pair.target.connect_as("sly");
    sly.batch_execute(
        "CREATE FUNCTION sly.strip(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
           INSERT INTO sly.caught VALUES (current_user); RETURN $1; END $$",
    )
    .expect("a function");
    let error = pair.sync_as(&mut sly, "'t'").expect_err("an index of the owner's");
    assert_eq!(error.code().code(), "42883", "{error:?}");
    assert!(
        error
            .detail()
            .is_some_and(|d| d.contains("t_fold") && d.contains("ALTER FUNCTION lib.fold(text)")),
        "{error:?}"
    );
    assert_eq!(pair.target.text("SELECT count(*) FROM sly.caught"), "0");
    pair.target.sql("ALTER FUNCTION lib.fold(text) SET search_path = lib");
    pair.sync_as(&mut sly, "'t'").expect("nobody is asked for a path");
    assert_eq!(pair.target.text("SELECT count(*) FROM sly.caught"), "0");
    assert_eq!(
        pair.target
            .text("SELECT count(*) FROM t WHERE lib.fold(name) LIKE 'name%'"),
        "100"
    );
}

#[test]
fn several_processes_load_with_it_too() {
    let pair = Pair::with("", "max_worker_processes = 16");
    pair.target
        .sql(&FUNCTIONS.replace("IMMUTABLE AS", "IMMUTABLE PARALLEL SAFE AS"));
    pair.both("CREATE TABLE big (id int, name text)");
    // Big on disk, and soon loaded.
    pair.source.sql(
        "ALTER TABLE big SET (fillfactor = 10);
         INSERT INTO big SELECT g, repeat('Name ' || g, 10) FROM generate_series(1, 80000) g",
    );
    pair.target.sql("ALTER TABLE big ADD CHECK (lib.fold(name) <> '')");
    pair.copied("'big', NULL, 3");
    assert_eq!(pair.target.text("SELECT count(*) FROM big"), "80000");
    assert_eq!(pair.target.text("SELECT processes > 1 FROM cgpsync_run_partition"), "t");
}

#[test]
fn on_another_server_the_remote_roles_own_search_path_leads_there() {
    let trio = Trio::new();
    trio.there.sql(FUNCTIONS);
    trio.pair
        .source
        .sql("CREATE TABLE t (id int, name text, note text); INSERT INTO t SELECT g, 'Name ' || g, 'n' FROM generate_series(1, 100) g");
    for (at, (place, table, _)) in PLACES.iter().enumerate() {
        for schema in ["lib", "far"] {
            let name = format!("{schema}{at}");
            trio.there.sql(&filled(table, &name, schema));
            trio.attach(&name);
            let call = format!("'{name}', source => 'src', source_table => 't'");
            // From 17 on the server builds indexes without it.
            if schema == "far"
                || (place.contains("index") || place.contains("predicate")) && swapped::major(&trio.there) >= 17
            {
                let error = trio.pair.sync(&call).expect_err(place);
                assert_eq!(error.code().code(), "42883", "{place}: {error:?}");
                let detail = error.detail().expect("a detail");
                let function = match *place {
                    "a trigger" => "far.stamp()".to_owned(),
                    _ => format!("{schema}.fold(text)"),
                };
                let hint = format!("ALTER FUNCTION {function} SET search_path");
                assert!(detail.contains(&hint), "{place}: {detail}");
                trio.there
                    .sql(&format!("ALTER FUNCTION {function} SET search_path = farther, lib"));
            }
            trio.pair.copied(&call);
            assert_eq!(trio.text(&format!("SELECT count(*) FROM {name}")), "100", "{place}");
            trio.there
                .sql("ALTER FUNCTION far.fold(text) RESET search_path; ALTER FUNCTION far.stamp() RESET search_path; ALTER FUNCTION lib.fold(text) RESET search_path");
        }
    }
}
