//! Who is in the way over there.

use super::unchanged::check_unchanged;
use super::{LEAVE_UNIT, Portion, Reader};
use crate::catalog::Database;
use crate::error::{Error, Side, sqlstate};
use crate::plan::copy_sql::quote_literal;
use crate::plan::gauss::{Part, table_of};
use crate::plan::holders::{Holder, name_holders};
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

impl Reader {
    /// The error of a unit of which `portion` was to be read, with what the source can say of it. As in the middle of a COPY it can say nothing: it was a helper
    /// that did not get a lock then.
    pub fn explain(&mut self, portion: &Portion, columns: &[String], error: Error) -> Error {
        let is_behind_lock = error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE && error.side == Side::Source;
        // A partition that is known by its name alone may be another one by now, or have another name.
        let may_be_another = matches!(
            &*error.sqlstate,
            sqlstate::UNDEFINED_TABLE | sqlstate::NO_PARTITION | sqlstate::CHECK_VIOLATION
        ) && Part::parse(&portion.relation).is_some();
        if !(is_behind_lock || may_be_another) || self.session.is_at_work() {
            return error;
        }
        let asked = match self.place.snapshot {
            Some(_) => self.session.batch(LEAVE_UNIT),
            None => self.session.batch("ROLLBACK").and_then(|()| self.session.begin(None)),
        };
        if asked.is_err() {
            return error;
        }
        if is_behind_lock {
            return match lock_holders(&mut self.session, &portion.relation) {
                Some(holders) => name_holders(error, "it over there", &holders),
                None => error,
            };
        }
        match check_unchanged(&mut self.session, portion, columns) {
            Err(changed) if !changed.is_remote() && changed.sqlstate == sqlstate::SERIALIZATION_FAILURE => {
                changed.detail(format!("{}.", error.message))
            }
            _ => error,
        }
    }
}
