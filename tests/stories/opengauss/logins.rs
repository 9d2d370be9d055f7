//! Logging in.

use crate::support::opengauss::Lab;

#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn a_wrong_password_is_refused_and_said_nowhere() {
    let lab = Lab::new("wrong");
    lab.source.sql("CREATE TABLE t (id int)");
    lab.here
        .sql("ALTER USER MAPPING FOR postgres SERVER prod OPTIONS (SET password 'Wrong#12345')");
    let error = lab
        .call(&format!("SELECT cgpsync_create_table('{}.t')", lab.schema))
        .expect_err("a wrong password");
    assert_eq!(error.code().code(), "28P01", "{error:?}");
    assert!(!format!("{error:?}").contains("Wrong#12345"), "{error:?}");
    assert!(!lab.here.log().contains("Wrong#12345"));
    lab.here
        .sql("ALTER SERVER prod OPTIONS (ADD channel_binding 'require')");
    let error = lab
        .call(&format!("SELECT cgpsync_create_table('{}.t')", lab.schema))
        .expect_err("nothing to bind to");
    assert!(error.message().contains("channel binding"), "{error:?}");
}

/// A plain role that has been given a table, and nothing else.
#[test]
#[ignore = "needs a real openGauss: make test-opengauss"]
fn select_on_the_table_is_enough() {
    let lab = Lab::new("reader");
    let role = format!("{}_reader", lab.schema);
    if !lab
        .source
        .allows(&format!("CREATE ROLE {role} LOGIN PASSWORD 'Reader#12345'"))
    {
        return crate::support::needs::note("the role may not create roles");
    }
    lab.source.sql(&format!(
        "CREATE TABLE t (id int, d timestamp(0) NOT NULL) PARTITION BY RANGE (d) INTERVAL ('1 month') (PARTITION p1 VALUES LESS THAN ('2024-02-01'));
         INSERT INTO t SELECT i, timestamp '2024-01-01' + i * interval '1 day' FROM generate_series(1, 80) i;
         GRANT USAGE ON SCHEMA {} TO {role}; GRANT SELECT ON t TO {role}",
        lab.schema
    ));
    lab.here.sql(&format!(
        "ALTER USER MAPPING FOR postgres SERVER prod OPTIONS (SET user '{role}', SET password 'Reader#12345')"
    ));
    lab.create("t");
    let said = lab.sync("t");
    assert!(!said.contains("snapshot"), "{said}");
    lab.is_same("t", &["id", "d"]);
    lab.source.sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY");
    let error = lab
        .call(&format!("SELECT * FROM cgpsync_sync('{}.t', '2100')", lab.schema))
        .expect_err("rows that may be hidden");
    assert_eq!(error.code().code(), "42501", "{error:?}");
    assert!(error.message().contains("may hide rows from"), "{error:?}");
    let sizes = "SELECT count(*) FROM cgpsync_run_partition WHERE estimated_bytes > 0";
    assert_eq!(lab.here.text(sizes), "3");
}
