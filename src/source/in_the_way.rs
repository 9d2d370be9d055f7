//! Who is in the way over there.

use crate::catalog::Database;
use crate::plan::copy_sql::quote_literal;
use crate::plan::gauss::table_of;
use crate::plan::holders::Holder;
use crate::row::Row;
use crate::wire::Session;

/// Who has locked `relation`, quoted and qualified, or a table beside it in its tree. None where the server cannot tell.
pub fn lock_holders(session: &mut Session, relation: &str) -> Option<Vec<Holder>> {
    let server = session.server();
    if server.version < 90_200 {
        return None;
    }
    // Those of segments have process numbers of other hosts.
    let coordinator = match server.has_segments() {
        true => "AND l.gp_segment_id = -1",
        false => "",
    };
    let rows = session.query(&Session::question(&format!(
        "SELECT DISTINCT CAST(l.pid AS text), CAST(x.gid AS text), CAST(x.owner AS text), CAST(x.prepared AS text)
         FROM pg_locks l
         LEFT JOIN pg_locks own ON l.pid IS NULL AND own.pid IS NULL AND own.granted AND own.locktype = 'transactionid'
              AND own.virtualtransaction = l.virtualtransaction
         LEFT JOIN pg_prepared_xacts x ON CAST(x.transaction AS text) = CAST(own.transactionid AS text)
         WHERE l.granted AND l.locktype = 'relation' {1} AND (l.pid IS NULL OR l.pid <> pg_backend_pid())
           AND NOT EXISTS (SELECT 1 FROM pg_stat_activity a WHERE a.pid = l.pid AND a.application_name LIKE 'cgpsync run %')
           AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND l.relation IN (SELECT CAST({0} AS regclass)
                              UNION ALL SELECT inhrelid FROM pg_inherits WHERE inhparent = CAST({0} AS regclass)
                              UNION ALL SELECT inhparent FROM pg_inherits WHERE inhrelid = CAST({0} AS regclass))
         ORDER BY 1, 2",
        quote_literal(&table_of(relation)),
        coordinator
    )));
    let one = |row: &Row| Holder::read([row.text(0), row.text(1), row.text(2), row.text(3)]);
    Some(rows.ok()?.iter().filter_map(one).collect())
}
