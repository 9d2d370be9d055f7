//! A source, a server with the extension, and a target beside it that has none.

use super::cluster::Cluster;
use super::{Pair, SOON, poll};

/// Three clusters: `pair.source` is read, `pair.target` has the extension, `there` is written.
pub struct Trio {
    pub pair: Pair,
    pub there: Cluster,
}

impl Trio {
    /// Starts them with default settings.
    pub fn new() -> Trio {
        Trio::with("", "", "")
    }

    /// Starts them with more lines for postgresql.conf: of the source, of the server between, of the target.
    pub fn with(source_conf: &str, between_conf: &str, target_conf: &str) -> Trio {
        let pair = Pair::with(source_conf, between_conf);
        let there = Cluster::source(target_conf);
        pair.create_server("dr", there.port);
        Trio { pair, there }
    }

    /// `persons` by month on the source, with `rows` rows a month, and on the target, attached here.
    pub fn persons(rows: u32) -> Trio {
        let trio = Trio::new();
        trio.create_persons(rows);
        trio
    }

    /// The same in clusters that are there.
    pub fn create_persons(&self, rows: u32) {
        let tables = "CREATE TABLE persons (id bigint, name varchar(64), born date NOT NULL, note text) PARTITION BY RANGE (born);
             DO $$ DECLARE m date; BEGIN
               FOR m IN SELECT generate_series(timestamp '2017-01-01', '2017-12-01', '1 month')::date LOOP
                   EXECUTE format('CREATE TABLE persons_%s PARTITION OF persons FOR VALUES FROM (%L) TO (%L)',
                                  to_char(m, 'YYYYMM'), m, (m + interval '1 month')::date);
                 END LOOP; END $$";
        self.both(tables);
        self.pair.source.sql(&format!(
            "INSERT INTO persons SELECT g, 'name ' || g, m + (g % 28), 'note ' || g
             FROM generate_series(timestamp '2017-01-01', '2017-12-01', '1 month') AS t(ts),
                  LATERAL (SELECT ts::date AS m) d, generate_series(1, {rows}) g"
        ));
        self.attach("persons");
    }

    /// Runs `sql` on the source and on the target.
    pub fn both(&self, sql: &str) {
        self.pair.source.sql(sql);
        self.there.sql(sql);
    }

    /// Waits until the target waits for rows of a COPY.
    pub fn until_copying(&self) {
        poll("the target takes rows", SOON, || {
            self.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'ClientRead'")
                == "1"
        });
    }

    /// A foreign table here that stands for `table` there.
    pub fn attach(&self, table: &str) {
        self.pair.target.sql(&format!("SELECT cgpsync_attach('{table}', 'dr')"));
    }

    /// Asserts that source and target answer `sql` alike.
    pub fn same(&self, sql: &str) {
        assert_eq!(self.there.text(sql), self.pair.source.text(sql), "{sql}");
    }

    /// Asserts that `table` holds the same rows on both, for rows satisfying `filter`.
    pub fn same_rows(&self, table: &str, filter: &str) {
        self.same(&format!(
            "SELECT count(*) || ' ' || COALESCE(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {table} t WHERE {filter}"
        ));
    }

    /// What the target answers.
    pub fn text(&self, sql: &str) -> String {
        self.there.text(sql)
    }
}
