//! What a run would do, without doing any of it: planned in the calling backend, nothing recorded, nothing created.

use super::planning::{self, Action, Plan, PlannedUnit};
use super::process::pin_role_settings;
use super::request::{Call, Request};
use super::sessions::{refuse_shared_out, with_target};
use super::state::Store;
use super::{WARNING, caller};
use crate::catalog::Database;
use crate::catalog::server::Known;
use crate::error::{Result, tame_whole};
use crate::pg::{backend, report};
use crate::plan::bound::End;
use crate::plan::copy_sql::display_name;
use crate::plan::replace::Replace;
use crate::plan::select::Decision;
use crate::source::clock;
use crate::targets::{self, Target};
use crate::wire::Session;
use crate::wire::endpoint::Endpoint;
use std::collections::{HashMap, HashSet};

/// A partition and what would happen to it.
#[derive(Debug)]
pub struct Line {
    /// its name; without the schema if that is public
    pub partition: String,
    /// copy, resume, skip, create or missing
    pub action: &'static str,
    /// relation read on the source; None when it is left
    pub source_relation: Option<String>,
    /// condition on its rows; None for all
    pub source_filter: Option<String>,
    /// lower end of the range on the key; None when open or without one
    pub range_start: Option<String>,
    /// upper end
    pub range_end: Option<String>,
    /// size on the source, if known
    pub estimated_bytes: Option<i64>,
    /// binary or text
    pub format: &'static str,
    /// shared, or per partition
    pub snapshot: &'static str,
    /// why
    pub reason: String,
}

impl Line {
    /// Says why COPY is to load it, if it is.
    fn with_way(mut self, why: Option<&String>) -> Line {
        if let ("copy", Some(why)) = (self.action, why) {
            self.reason += &tame_whole(&format!("; loaded by COPY: {why}"));
        }
        self
    }

    /// Names the columns whose values may change where rows are copied.
    fn with_changing(mut self, columns: &[String]) -> Line {
        if matches!(self.action, "copy" | "create") && !columns.is_empty() {
            self.reason += &tame_whole(&format!("; values of {} may change", columns.join(", ")));
        }
        self
    }
}

/// Plans `call`. What holds for the whole of it comes as NOTICEs.
pub fn preview(call: Call) -> Result<Vec<Line>> {
    let request = caller::request(call, targets::check_wherever_it_is)?;
    let (plan, shared, by_copy) = backend::with_local_settings(|| plan(&request))?;
    for remark in &plan.remarks {
        match remark.strip_prefix(WARNING) {
            Some(remark) => report::warning(remark),
            None => report::notice(remark),
        }
    }
    let format = if plan.mapping.binary { "binary" } else { "text" };
    let snapshot = if shared { "shared" } else { "per partition" };
    let mut lines: Vec<Line> = plan
        .partitions
        .into_iter()
        .map(|planned| {
            let why = planned.unit.unit.oid.and_then(|oid| by_copy.get(&oid));
            line(planned, plan.end_tm.as_deref(), format, snapshot).with_way(why)
        })
        .map(|line| line.with_changing(&plan.mapping.changing))
        .collect();
    lines.sort_by(|a, b| a.partition.cmp(&b.partition));
    Ok(lines)
}

/// As the coordinator does it, but for the snapshot, which needs no second session here.
fn plan(request: &Request) -> Result<(Plan, bool, HashMap<u32, String>)> {
    let timezone = pin_role_settings(request)?;
    request.limit_lock_waits()?;
    with_target(request, &timezone, "cgpsync plan", |target| {
        let endpoint = request.endpoint()?;
        let (name, encoding) = ("cgpsync plan", target.encoding());
        let source = Session::open_here(&endpoint, name, &encoding, &timezone)?;
        let (source, (plan, by_copy)) = source.and_then(|source| {
            // What there is to tell of the connection was told.
            let open = |known: Option<Known>| {
                let endpoint = Endpoint {
                    known,
                    ..endpoint.clone()
                };
                Session::open(&endpoint, name, &encoding, &timezone)
            };
            refuse_shared_out(target, source, open)?;
            source.limit_lock_waits(request.lock_timeout_ms);
            let clock = clock::read(source)?;
            source.begin(None)?;
            target.look(|| {
                let store = Store::open()?;
                store.find_again()?;
                let plan = planning::plan(request, target, &store, source, &clock, &HashSet::new())?;
                let by_copy = by_copy(request, target, &plan)?;
                Ok((plan, by_copy))
            })
        })?;
        let shared = source.server().shares_snapshots();
        source.close();
        Ok((plan, shared, by_copy))
    })
}

/// Why COPY is to load units here, by OID, of those whose pages cgpsync would write if it could.
fn by_copy(request: &Request, target: &Target, plan: &Plan) -> Result<HashMap<u32, String>> {
    if !request.page_writer || target.elsewhere().is_some() {
        return Ok(HashMap::new());
    }
    let copied = plan.partitions.iter().filter(|planned| planned.action == Action::Copy);
    let units: Vec<(u32, bool)> = copied
        .filter_map(|planned| Some((planned.unit.unit.oid?, planned.unit.filter_here)))
        .collect();
    let of_all = |why: &str| units.iter().map(|(oid, _)| (*oid, why.to_owned())).collect();
    if !plan.mapping.binary {
        return Ok(of_all("values come as text"));
    }
    let oids: Vec<u32> = units.iter().map(|(oid, _)| *oid).collect();
    let mut reasons = target.loaded_by_copy(&oids, &plan.mapping.columns, request.replace == Replace::Truncate)?;
    let mixed = units.iter().filter(|(_, filter_here)| *filter_here);
    reasons.extend(mixed.map(|(oid, _)| (*oid, "rows of other partitions come too".to_owned())));
    Ok(reasons)
}

fn line(planned: PlannedUnit, end_tm: Option<&str>, format: &'static str, snapshot: &'static str) -> Line {
    let action = match planned.action {
        Action::Copy => "copy",
        Action::Resume(_) => "resume",
        Action::Skip(_) => "skip",
        Action::Create => "create",
        Action::Missing => "missing",
        Action::Vanished => "vanished",
        Action::Drop => "drop",
    };
    let value = |end: &End| match end {
        End::Value(value) => Some(tame_whole(value)),
        _ => None,
    };
    let left = matches!(planned.action, Action::Skip(_) | Action::Vanished | Action::Drop);
    Line {
        reason: tame_whole(&reason(&planned, end_tm.unwrap_or(""))),
        action,
        source_relation: (!left).then(|| tame_whole(&planned.unit.source_relation)),
        source_filter: planned.unit.source_filter.as_deref().map(tame_whole),
        range_start: planned.range.as_ref().and_then(|range| value(&range.start)),
        range_end: planned.range.as_ref().and_then(|range| value(&range.end)),
        estimated_bytes: planned.unit.estimated_bytes,
        format,
        snapshot,
        partition: display_name(&planned.unit.unit.name),
    }
}

fn reason(planned: &PlannedUnit, end_tm: &str) -> String {
    let taken = match planned.decision {
        Decision::Always => "always taken: it has no range to compare".to_owned(),
        Decision::InRange => format!("begins up to {end_tm} and was not closed before"),
        Decision::Unloaded => "closed before, but no run has loaded it and it is empty".to_owned(),
        Decision::Altered => "closed before, but over there it is not what the last run has left".to_owned(),
        Decision::Closed => return "closed before the point where this run begins".to_owned(),
        Decision::Later => return format!("begins after {end_tm}"),
    };
    let taken = match &planned.unit.filter_here {
        true => format!("{taken}; rows of other HASH partitions come too and are dropped here"),
        false => taken,
    };
    match planned.action {
        Action::Resume(run) => format!("{taken}; run {run} has copied it"),
        Action::Create => format!("{taken}; only the source has it"),
        Action::Missing => format!("{taken}; only the source has it, and create_missing is false"),
        Action::Vanished => format!("{taken}; the source has no such partition any more, and its rows stay"),
        Action::Drop => format!("{taken}; the source has no such partition any more, and it is dropped"),
        _ if planned.unit.vanished_filter.is_some() => {
            format!("{taken}; a part of its range has vanished from the source: it fails if it holds rows of that")
        }
        _ => taken,
    }
}
