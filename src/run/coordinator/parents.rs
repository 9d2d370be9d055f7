//! Statistics of the partitioned tables above what a run has replaced: once in a run, when its last unit is done.

use super::Run;
use crate::error::Result;
use crate::pg::{backend, background, xact};
use crate::plan::copy_sql::display_name;
use crate::plan::replace::Analyze;

impl Run {
    /// What fails here is a remark: the units are done. So is what a request to end keeps from being done, as the run ends next anyway.
    pub(super) fn analyze_parents(&self) {
        if self.request.analyze != Analyze::All {
            return;
        }
        let done = xact::transaction(|| {
            let replaced = self.store.replaced(self.id)?;
            self.target.parents_of_all(&replaced)
        });
        let remark = match done {
            Ok(parents) => parents.into_iter().try_for_each(|parent| self.analyze_parent(parent)),
            Err(error) => Err(error),
        };
        if let Err(error) = remark {
            let remark = format!(
                "tables above the partitions: not analyzed: {} [{}]",
                error.message, error.sqlstate
            );
            // Nothing more can be done about one that cannot be written either.
            let _ = xact::transaction(|| self.store.add_message(self.id, &remark));
        }
    }

    fn analyze_parent(&self, parent: u32) -> Result<()> {
        if background::termination_requested() || self.handoff.is_caller_gone() {
            return Ok(());
        }
        let table = xact::transaction(|| self.target.unit_of(parent))?;
        let name = display_name(&table.name);
        backend::show_activity(Some(&format!("run {}: analyzing {name}", self.id)));
        let analyzed = xact::transaction(|| {
            self.request.limit_lock_waits()?;
            self.target.analyze_parent(&table)
        });
        let Err(error) = analyzed else { return Ok(()) };
        let remark = format!("{name}: not analyzed: {} [{}]", error.message, error.sqlstate);
        xact::transaction(|| self.store.add_message(self.id, &remark))
    }
}
