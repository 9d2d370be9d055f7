//! Partitions that a run creates before it copies, and those that it drops afterwards.

use super::Run;
use crate::error::Result;
use crate::pg::xact;
use crate::plan::copy_sql::{display_name, split_name};
use crate::plan::creation::Creation;
use crate::plan::gauss::Part;
use crate::plan::tables::Unit;
use crate::run::planning::Plan;
use crate::run::state::rows::NewUnit;
use std::collections::HashSet;

/// What the source calls it, if that is something else.
fn it(creation: &Creation) -> String {
    if Part::parse(&creation.source_relation).is_some() {
        return display_name(&creation.source_relation);
    }
    let name = |relation: &str| split_name(relation).map(|(_, name)| name);
    let ours = creation.tables.first().and_then(|table| name(&table.name));
    match creation.added.is_some() || ours == name(&creation.source_relation) {
        true => "it".to_owned(),
        false => format!("{}, whose name is taken here", display_name(&creation.source_relation)),
    }
}

impl Run {
    /// Creates what only the source has, each partition with what is below it in a transaction of its own: a lock on the parent is held for
    /// as short as can be, and those that are there stay whatever becomes of the run. Adds their names, quoted and qualified, to `created`.
    pub(super) fn create_partitions(&self, plan: &Plan, created: &mut HashSet<String>) -> Result<()> {
        for creation in &plan.creations {
            self.check_termination()?;
            let created_now = xact::transaction(|| {
                self.request.limit_lock_waits()?;
                let tables = self.target.create_partition(creation)?;
                let names: Vec<String> = tables.iter().map(|table| display_name(table)).collect();
                let note = format!(
                    "created partition {} as the source has {}",
                    names.join(", "),
                    it(creation)
                );
                self.store.add_message(self.id, &note)?;
                Ok(tables)
            });
            let parent = Unit {
                name: creation.parent_name.clone(),
                oid: Some(creation.parent),
            };
            created.extend(created_now.map_err(|error| self.target.name_lock_holders(error, &parent))?);
        }
        Ok(())
    }

    /// Drops what the source has no more, each partition in a transaction of its own: by now no worker holds the table.
    pub(super) fn drop_partitions(&mut self, units: &[&NewUnit]) -> Result<()> {
        for unit in units {
            let (partition, bound) = (unit.unit.oid()?, unit.bound.as_deref().unwrap_or(""));
            let mut attempt = 1;
            loop {
                self.check_termination()?;
                let dropped = xact::transaction(|| {
                    self.request.limit_lock_waits()?;
                    let name = self.target.drop_partition(&unit.unit, bound)?;
                    self.store.unit_dropped(self.id, partition)?;
                    let note = format!("dropped partition {}: the source has it no more", display_name(&name));
                    self.store.add_message(self.id, &note)
                });
                let Err(error) = dropped else { break };
                let error = self.target.name_lock_holders(error, &unit.unit);
                let Some(delay) = self.request.next_attempt(&error, attempt) else {
                    if error.is_cancel() {
                        return Err(error);
                    }
                    xact::transaction(|| self.store.unit_not_dropped(self.id, partition, &error))?;
                    break;
                };
                self.sleep(delay)?;
                self.keep_target()?;
                attempt += 1;
            }
        }
        Ok(())
    }
}
