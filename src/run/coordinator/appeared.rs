//! Partitions of openGauss that have appeared since the run's snapshot: a row makes one of an interval table, at any moment.

use super::Run;
use crate::catalog::opengauss::{self, Point};
use crate::error::Result;
use crate::pg::{report, xact};
use crate::plan::copy_sql::display_name;
use crate::plan::gauss::Part;
use crate::run::planning::Plan;
use crate::run::sessions::open_for_run;
use std::time::Duration;

/// Most that are named.
const NAMED: usize = 10;

impl Run {
    /// Says which partitions of the source the plan does not know, and gives whether one of them may end before the run's point: the next call would not
    /// look for that one any more. That they cannot be looked for is said as well, and fails nothing.
    pub(super) fn name_new_partitions(&self, plan: &Plan) -> Result<bool> {
        if plan.parts.is_empty() {
            return Ok(false);
        }
        let (remark, is_passed) = match report::catch(|| self.new_partitions(plan)) {
            Ok(new) if new.is_empty() => return Ok(false),
            Ok(new) => {
                let is_passed = plan.moves_watermark && new.iter().any(|(_, is_passed)| *is_passed);
                let more = match new.len().saturating_sub(NAMED) {
                    0 => String::new(),
                    more => format!(" and {more} others"),
                };
                let named: Vec<String> = new.iter().take(NAMED).map(|(part, _)| display_name(part)).collect();
                let kept = if is_passed {
                    ", and end_tm is not remembered"
                } else {
                    ""
                };
                let remark = format!(
                    "the source has partitions that it had not, or not by this name, when the run began: {}{more}. \
                     They were not read{kept}; the next call finds them",
                    named.join(", ")
                );
                (remark, is_passed)
            }
            Err(error) if error.is_cancel() => return Err(error),
            Err(error) => {
                let remark = format!(
                    "whether the source has new partitions is not known, so end_tm is not remembered: {}",
                    error.message
                );
                (remark, plan.moves_watermark)
            }
        };
        xact::transaction(|| self.store.add_message(self.id, &remark))?;
        Ok(is_passed)
    }

    /// The partitions, and whether the bound of each lies before the run's point or at it.
    fn new_partitions(&self, plan: &Plan) -> Result<Vec<(String, bool)>> {
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
            let point = plan.point.as_deref().zip(plan.key.as_ref());
            let point = point.map(|(value, (column, type_oid))| Point {
                column,
                type_oid: *type_oid,
                value,
            });
            opengauss::parts(session, &plan.source_table, point)
        })?;
        session.close();
        let has_subs = plan.parts.iter().any(|part| part.is_sub);
        let is_new = |(part, _): &(Part, bool)| !plan.parts.contains(part) && (has_subs || !part.is_sub);
        let new = now.into_iter().filter(is_new);
        Ok(new.map(|(part, is_passed)| (part.relation(), is_passed)).collect())
    }
}
