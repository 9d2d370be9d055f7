//! What must be true of the target after a run.

use super::Clusters;

impl Clusters {
    /// Asserts that `table` holds the same rows on both, for rows satisfying `filter`.
    pub fn same_rows(&self, table: &str, filter: &str) {
        let [there, here] = [&self.source, &self.target].map(|cluster| cluster.content(table, filter));
        assert_eq!(here, there, "{table}: {filter}");
    }

    /// Asserts that all tables are the same on both, whose catalogs tell it in the same words if they are of one version.
    pub fn same_portraits(&self) {
        if self.target.version == self.source.version {
            assert_eq!(self.target.portrait(), self.source.portrait());
        }
    }

    /// Asserts that the last run has exchanged all it has copied.
    pub fn all_exchanged(&self) {
        let reasons = self
            .between
            .text("SELECT message FROM cgpsync_run ORDER BY run_id DESC LIMIT 1");
        assert_eq!(self.ways(), "exchange", "{}: {reasons}", self.ways_by_unit());
    }

    /// The same of a table with a default partition that holds rows, beside which 7 truncates.
    pub fn all_exchanged_beside_a_default(&self) {
        if self.target.version == 6 {
            self.all_exchanged();
        }
    }

    /// Asserts that each row of `table`, whose `key` is unique, is where its distribution says.
    pub fn well_distributed(&self, table: &str, key: &str) {
        let by = self
            .target
            .text(&format!("SELECT pg_get_table_distributedby('{table}'::regclass)"));
        self.target.sql(&format!(
            "CREATE TABLE again (LIKE {table}) {by}; INSERT INTO again SELECT * FROM {table}"
        ));
        let wrong = format!(
            "SELECT count(*) FROM {table} t JOIN again a USING ({key}) WHERE t.gp_segment_id <> a.gp_segment_id"
        );
        let all = format!(
            "SELECT count(*) || ' ' || count(DISTINCT t.gp_segment_id) FROM {table} t JOIN again a USING ({key})"
        );
        let rows = self.target.text(&format!(
            "SELECT count(*) || ' ' || count(DISTINCT gp_segment_id) FROM {table}"
        ));
        assert_eq!(
            (self.target.text(&all), self.target.text(&wrong)),
            (rows, "0".to_owned()),
            "{table}"
        );
        self.target.sql("DROP TABLE again");
    }

    /// Asserts that no table of a run is left on the target.
    pub fn nothing_is_left(&self) {
        let tables = "SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_cgpsync\\_%'
                      AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())";
        assert_eq!(self.target.text(tables), "0");
    }
}
