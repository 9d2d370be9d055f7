//! Which database the history's OIDs are of: a dump of it may be restored elsewhere.

use super::{SHOWN_NAME, Store};
use crate::error::Result;
use crate::pg::backend;

/// This database, wherever a dump of it is restored.
pub(super) const HOME: &str = "((SELECT system_identifier FROM pg_catalog.pg_control_system()) || '/' ||
    (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))";

impl Store {
    /// Where the history has come from another database, by a restore or a copy, its OIDs are of that one: finds its
    /// tables and partitions by their names. Nothing where nothing may be written.
    pub fn find_again(&self) -> Result<()> {
        let foreign = format!("SELECT EXISTS (SELECT FROM @.cgpsync_run WHERE home IS DISTINCT FROM {HOME})");
        if backend::is_in_recovery()
            || backend::is_read_only()
            || !self.read(&foreign, &[])?.first().is_some_and(|row| row.is(0))
        {
            return Ok(());
        }
        let named = format!(
            "(SELECT {SHOWN_NAME} AS name, c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'f')) named"
        );
        let foreign = format!("run_id IN (SELECT run_id FROM @.cgpsync_run WHERE home IS DISTINCT FROM {HOME})");
        for (table, name) in [("cgpsync_run_partition", "partition"), ("cgpsync_run", "table_name")] {
            self.write(
                &format!("UPDATE @.{table} SET relation = NULL WHERE {foreign} AND relation IS NOT NULL"),
                &[],
            )?;
            self.write(
                &format!(
                    "UPDATE @.{table} SET relation = named.oid FROM {named} WHERE {foreign} AND named.name = {name}"
                ),
                &[],
            )?;
        }
        self.write(
            &format!("UPDATE @.cgpsync_run SET home = {HOME} WHERE home IS DISTINCT FROM {HOME}"),
            &[],
        )
        .map(|_| ())
    }
}
