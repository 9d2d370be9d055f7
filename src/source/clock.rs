//! The source's present: no row that it may still get is older.

use crate::catalog::Database;
use crate::catalog::server::Catalog;
use crate::error::{Error, Result};
use crate::plan::copy_sql::quote_literal;
use crate::plan::end::Moment;
use crate::wire::Session;

/// The source's clock.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// up to when its rows are complete; None: it does not tell
    pub now: Option<Moment>,
    /// it is a standby that lags, and by how much
    pub lag: Option<String>,
}

/// Functions of a standby by the names that servers have had for them: what was received, what was replayed.
const LOCATIONS: [(&str, &str); 2] = [
    ("pg_last_wal_receive_lsn", "pg_last_wal_replay_lsn"),
    ("pg_last_xlog_receive_location", "pg_last_xlog_replay_location"),
];

/// Reads the clock, in a transaction of its own before the run's snapshot is taken, so that this has all rows of that moment. A
/// standby that has received more than it has replayed, or receives nothing now, is as late as the
/// last transaction that it has replayed.
///
/// The time without zone is the earlier of that in the session's time zone, which is the role's here, and that in the zone which the
/// source gives its user: keys may be of either.
pub fn read(session: &mut Session) -> Result<Clock> {
    let server = session.server().clone();
    let (lag, replayed) = match lag_sql(|name| server.has_function(name), server.catalog) {
        Some(lag) => (lag, "pg_last_xact_replay_timestamp()"),
        None => ("CAST(NULL AS text)".to_owned(), "now()"),
    };
    let local = match server.timezone.as_deref() {
        Some(zone) => format!(
            "least(CAST(t.at AS timestamp), timezone({}, t.at))",
            quote_literal(zone)
        ),
        None => "CAST(t.at AS timestamp)".to_owned(),
    };
    session.begin(None)?;
    let rows = session.query(&format!(
        "SELECT CAST(t.at AS text), CAST({local} AS text), t.lag
         FROM (SELECT CASE WHEN l.lag IS NULL THEN now() ELSE {replayed} END AS at, l.lag
               FROM (SELECT {lag} AS lag) l) t"
    ))?;
    session.batch("COMMIT")?;
    let row = rows.first().ok_or_else(|| Error::protocol("no answer"))?;
    let is_told = row.text(0).is_some();
    Ok(Clock {
        now: match is_told {
            true => Some(Moment {
                instant: row.string(0)?,
                local: row.string(1)?,
            }),
            false => None,
        },
        lag: row.owned(2),
    })
}

/// How much a standby lags, as an expression; null for one that does not, and for a primary. None where there are no standbys that we know.
fn lag_sql(has: impl Fn(&str) -> bool, catalog: Catalog) -> Option<String> {
    let (received, replayed) = LOCATIONS
        .into_iter()
        .find(|(received, replayed)| has(received) && has(replayed))?;
    // openGauss tells the term as well (xlogfuncs.cpp).
    let replayed = match catalog {
        Catalog::OpenGauss => format!("(SELECT r.lsn FROM {replayed}() r)"),
        _ => format!("{replayed}()"),
    };
    if !has("pg_is_in_recovery") || !has("pg_last_xact_replay_timestamp") {
        return None;
    }
    // Who may not see the status sees the row of a receiver that is at work.
    let has_view = has("pg_stat_get_wal_receiver") && catalog != Catalog::OpenGauss;
    let (stopped, streams) = match has_view {
        true => (
            "NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver r WHERE r.pid IS NOT NULL AND COALESCE(r.status, 'streaming') = 'streaming')",
            "CASE WHEN EXISTS (SELECT 1 FROM pg_stat_wal_receiver r WHERE r.pid IS NOT NULL) THEN '' ELSE 'receives nothing now, ' END",
        ),
        false => ("false", "''"),
    };
    Some(format!(
        "CASE WHEN pg_is_in_recovery() AND ({received}() IS NULL OR {received}() <> {replayed} OR {stopped})
           THEN {streams} || 'has received ' || COALESCE(CAST({received}() AS text), 'nothing')
                || ' and replayed ' || COALESCE(CAST({replayed} AS text), 'nothing')
                || COALESCE(', the last transaction of ' || CAST(pg_last_xact_replay_timestamp() AS text), '') END"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Catalog, lag_sql};

    #[test]
    fn only_what_the_server_has_is_asked() {
        let all = |name: &str| name.starts_with("pg_");
        let sql = lag_sql(all, Catalog::Declarative).expect("a standby may be asked");
        assert!(sql.contains("pg_last_wal_receive_lsn()") && sql.contains("pg_stat_wal_receiver"));
        let old = lag_sql(|name| !name.contains("wal"), Catalog::OpenGauss).expect("the older names");
        assert!(
            old.contains("pg_last_xlog_receive_location()")
                && old.contains("r.lsn FROM pg_last_xlog_replay_location()")
                && !old.contains("pg_stat_wal_receiver")
        );
        assert_eq!(lag_sql(|name| name == "pg_is_in_recovery", Catalog::None), None);
    }
}
