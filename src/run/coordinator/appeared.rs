//! Partitions of openGauss that have appeared since the run's snapshot: a row makes one of an interval table, at any moment.

use super::Run;
use crate::catalog::opengauss;
use crate::error::Result;
use crate::pg::{report, xact};
use crate::plan::copy_sql::display_name;
use crate::run::planning::Plan;
use crate::run::sessions::open_for_run;
use std::time::Duration;

/// Most that are named.
const NAMED: usize = 10;

impl Run {
    /// Says which partitions were not there to be read. That they cannot be looked for is said as well, and fails nothing.
    pub(super) fn name_new_partitions(&self, plan: &Plan) -> Result<()> {
        if plan.parts.is_empty() {
            return Ok(());
        }
        let remark = match report::catch(|| self.new_partitions(plan)) {
            Ok(new) if new.is_empty() => return Ok(()),
            Ok(new) => {
                let more = match new.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} others"),
                };
                let named: Vec<String> = new.iter().take(NAMED).map(|part| display_name(part)).collect();
                format!(
                    "the source has partitions that were not there when the run began: {}{more}. The next call reads them",
                    named.join(", ")
                )
            }
            Err(error) if error.is_cancel() => return Err(error),
            Err(error) => format!("new partitions of the source were not looked for: {}", error.message),
        };
        xact::transaction(|| self.store.add_message(self.id, &remark))
    }

    fn new_partitions(&self, plan: &Plan) -> Result<Vec<String>> {
        let known = self.source_known.as_ref();
        let session = open_for_run(
            &self.request,
            self.id,
            &self.target,
            Duration::MAX,
            Some(&self.place),
            known,
        )?;
        let (session, now) = session.and_then(|session| {
            session.begin(None)?;
            opengauss::parts(session, &plan.source_table)
        })?;
        session.close();
        let has_subs = plan.parts.iter().any(|part| part.is_sub);
        let is_new = |part: &_| !plan.parts.contains(part);
        let new = now.into_iter().filter(|part| has_subs || !part.is_sub).filter(is_new);
        Ok(new.map(|part| part.relation()).collect())
    }
}
