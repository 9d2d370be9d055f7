//! Rows that the target refuses: the error says where, and the old rows stay.

use crate::support::greenplum::{Clusters, PERSONS, births, words};

const OLD: &str = "INSERT INTO persons VALUES (1, 'old', '2017-01-05', 'old'), (2, 'old', '2017-02-05', 'old')";
const OLD_IS_THERE: &str = "SELECT string_agg(note, ',') FROM persons WHERE born < '2017-02-01'";

/// Both ways fail with `code` and all of `parts`; January is as it was, February is new.
fn is_refused(clusters: &Clusters, code: &str, parts: &[&str]) {
    for way in ["exchange", "truncate"] {
        let error = clusters.refused(&format!(
            "'persons', '20170228', 2, since => '20170101', replace => '{way}'"
        ));
        assert_eq!(error.code().code(), code, "{way}: {error:?}");
        for part in parts.iter().chain(&["persons_1_prt_1", "server \"dr\""]) {
            assert!(words(&error).contains(part), "{way}, {part}: {error:?}");
        }
        assert!(!words(&error).contains("_cgpsync"), "{way}: {error:?}");
        assert_eq!(clusters.target.text(OLD_IS_THERE), "old", "{way}");
        clusters.same_rows("persons", "born >= '2017-02-01' AND born < '2017-03-01'");
        clusters.nothing_is_left();
    }
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_value_that_is_too_long() {
    let clusters = Clusters::new("too_long");
    clusters.source.sql(PERSONS);
    clusters.source.sql(&births(600));
    clusters
        .source
        .sql("UPDATE persons SET name = repeat('long', 5) WHERE id = (SELECT min(id) FROM persons WHERE born = '2017-01-09')");
    clusters.target.sql(&PERSONS.replace("varchar(64)", "varchar(10)"));
    clusters.target.sql(OLD);
    clusters.attach("persons");
    is_refused(&clusters, "22001", &["character varying(10)", "line "]);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_value_that_a_constraint_refuses() {
    let clusters = Clusters::persons("refused", 600);
    clusters.target.sql(OLD);
    clusters
        .target
        .sql("ALTER TABLE persons ADD CONSTRAINT few CHECK (id < 300 OR born >= '2017-02-01')");
    is_refused(&clusters, "23514", &["few"]);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_value_that_is_missing() {
    let clusters = Clusters::persons("null", 600);
    clusters.target.sql(OLD);
    clusters.target.sql("ALTER TABLE persons ALTER note SET NOT NULL");
    clusters
        .source
        .sql("UPDATE persons SET note = NULL WHERE id = (SELECT min(id) FROM persons WHERE born = '2017-01-09')");
    is_refused(&clusters, "23502", &["note"]);
}

#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_row_that_is_there_twice() {
    let clusters = Clusters::new("twice");
    clusters.source.sql(PERSONS);
    clusters.source.sql(&births(600));
    clusters
        .target
        .sql(&PERSONS.replace("note text)", "note text, PRIMARY KEY (id, born))"));
    clusters.target.sql(OLD);
    clusters
        .source
        .sql("INSERT INTO persons SELECT * FROM persons WHERE born = '2017-01-09'");
    clusters.attach("persons");
    is_refused(&clusters, "23505", &[]);
}

/// On 6 a leaf can hold rows of another one: an exchange without validation puts them there.
#[test]
#[ignore = "needs real clusters: make test-greenplum"]
fn a_row_of_another_partition() {
    let clusters = Clusters::persons("another", 600);
    if clusters.source.version != 6 {
        return crate::support::needs::note("7 validates what is exchanged");
    }
    clusters.target.sql(OLD);
    clusters.source.sql(
        "CREATE TABLE stray (LIKE persons) DISTRIBUTED BY (id); INSERT INTO stray VALUES (1, 'stray', '2017-05-05');
         ALTER TABLE persons EXCHANGE PARTITION FOR (date '2017-01-05') WITH TABLE stray WITHOUT VALIDATION",
    );
    assert_eq!(clusters.source.text("SELECT count(*) FROM persons_1_prt_1"), "1");
    is_refused(&clusters, "23514", &[]);
}
