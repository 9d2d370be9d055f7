//! Comparing both sides, unit by unit: counts or checksums, each computed where the rows are.
//!
//! All of it happens in the calling backend and nothing is written: no run, no process, no lock but ACCESS SHARE. The source's units
//! run side by side, a session each, in one snapshot there; this side's run one after the other, in one snapshot here, where the server
//! may use parallel plans. The backend asks the sessions in turn and computes a unit of its own whenever none of them has an answer.

use super::Request;
use super::caller::{self, Call};
use super::planning::{self, Comparison};
use super::record::{self, Store};
use super::rows::NewUnit;
use crate::error::{Error, Result, sqlstate, tame_remark};
use crate::pg::{report, session, spi, wait};
use crate::plan::checksum::{self, Compared};
use crate::plan::copy_sql::quote_literal;
use crate::plan::units::{SourceTable, TargetTable};
use crate::source::dialect::unchanged::{Read, check_unchanged};
use crate::source::{Session, TextRow, dialect};
use crate::target::{catalog, types};
use std::time::Duration;

/// Longest sleep between two looks at the sessions; sockets and latch end it earlier.
const TICK: Duration = Duration::from_secs(1);

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// the number of rows
    Count,
    /// also what they hold
    Checksum,
}

impl Method {
    /// `count` or `checksum`.
    pub fn parse(text: &str) -> Result<Method> {
        match text.trim().to_ascii_lowercase().as_str() {
            "count" => Ok(Method::Count),
            "checksum" => Ok(Method::Checksum),
            _ => Err(
                Error::bad_parameter(format!("method \"{text}\" is neither \"count\" nor \"checksum\""))
                    .hint("Counting is fast; a checksum finds changed values too."),
            ),
        }
    }
}

/// What one side says about a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// number of rows
    pub rows: i64,
    /// their checksum, a whole number; None with method count
    pub checksum: Option<String>,
}

/// A unit, compared.
#[derive(Debug)]
pub struct Verified {
    /// name of the target's partition, as cgpsync_run_partition has it; None: only the source has it
    pub partition: Option<String>,
    /// on the source; None: nothing is read there
    pub there: Option<Figures>,
    /// here; None: only the source has it
    pub here: Option<Figures>,
    /// relation read on the source
    pub source_relation: Option<String>,
    /// condition on its rows
    pub source_filter: Option<String>,
}

impl Verified {
    /// Whether both sides are alike; None where the source has nothing to compare with.
    pub fn matches(&self) -> Option<bool> {
        self.there.as_ref().map(|there| self.here.as_ref() == Some(there))
    }
}

/// What is computed: a unit on both sides, a partition here that the source has no more, or rows of the source that no partition
/// here takes.
struct Work {
    /// the target's partition
    partition: Option<u32>,
    /// its quoted, qualified name; without one, the source's relation
    name: String,
    /// the same, as it is shown
    shown_name: Option<String>,
    /// statement for this side
    here: Option<String>,
    /// statement for the source
    there: Option<String>,
    /// relation read on the source
    source_relation: Option<String>,
    /// it is partitioned
    source_parts: bool,
    /// condition on its rows
    source_filter: Option<String>,
}

/// Compares the units that `call` selects; rows come in the order of the partitions' names.
pub fn verify(call: Call, method: Method) -> Result<Vec<Verified>> {
    let request = caller::request(call)?;
    let mut sessions = Vec::new();
    // Whatever ends it, also a cancel served while waiting or while counting here, must stop what runs on the source.
    match report::catch(|| compare(&request, method, &mut sessions)) {
        Ok(results) => {
            sessions.into_iter().for_each(Session::close);
            Ok(results)
        }
        Err(error) => {
            Session::abandon_all(sessions);
            Err(error)
        }
    }
}

fn compare(request: &Request, method: Method, sessions: &mut Vec<Session>) -> Result<Vec<Verified>> {
    let timezone = pin_timezone()?;
    connect(request, &timezone, sessions)?;
    let Some(first) = sessions.first_mut() else {
        return Err(Error::internal("no session on the source"));
    };
    let snapshot = dialect::begin_shared(first)?;
    let mut comparison = planning::comparison(request, &Store::open()?, first)?;
    leave_out_hashed(&mut comparison.units)?;
    let (work, columns) = statements(request, method, comparison, first.has_integer_datetimes())?;
    work.iter().try_for_each(lock)?;
    join_in(request, &timezone, snapshot.as_deref(), sessions, work.len())?;
    let (here, there) = spi::in_one_snapshot(|| drive(&work, &columns, sessions))?;
    let mut figures: Vec<_> = work.into_iter().zip(here.into_iter().zip(there)).collect();
    // Where no row turned out to be without a place, there is nothing to tell.
    figures.retain(|(work, (_, there))| work.partition.is_some() || there.as_ref().is_some_and(|f| f.rows > 0));
    figures.sort_by(|(a, _), (b, _)| (a.partition.is_none(), &a.name).cmp(&(b.partition.is_none(), &b.name)));
    let verified = figures.into_iter().map(|(work, (here, there))| Verified {
        partition: work.shown_name,
        there,
        here,
        source_relation: work.source_relation,
        source_filter: work.source_filter,
    });
    Ok(verified.collect())
}

/// Times without a zone are read in the zone that the server gives the role, as the processes of a run do; gives that. The function's
/// SET clause ends it with the call.
fn pin_timezone() -> Result<String> {
    let timezone = super::role_timezone()?;
    session::set_config("TimeZone", &timezone, true)?;
    Ok(timezone)
}

/// HASH partitions that the source does not have alike: no condition tells their rows apart there, so they cannot be compared one by one.
fn leave_out_hashed(units: &mut Vec<NewUnit>) -> Result<()> {
    let hashed: Vec<u32> = units.iter().filter(|u| u.filter_here).map(|u| u.partition).collect();
    if !hashed.is_empty() {
        let names: Vec<String> = hashed.into_iter().map(catalog::qualified_name).collect::<Result<_>>()?;
        pgrx::warning!(
            "HASH partitions that the source does not have are not compared: {}",
            names.join(", ")
        );
    }
    units.retain(|unit| !unit.filter_here);
    Ok(())
}

fn connect(request: &Request, timezone: &str, sessions: &mut Vec<Session>) -> Result<()> {
    let target = request.connection()?;
    let mut session = Session::open(&target, "cgpsync verify", &session::encoding(), timezone)?;
    // As here: compiling the long expressions of a checksum costs more than it gains.
    let jit = if session.version() >= 110_000 {
        session.batch("SET jit = off")
    } else {
        Ok(())
    };
    sessions.push(session);
    jit
}

/// Opens the other sessions, in the first one's snapshot if the server can share it.
fn join_in(
    request: &Request,
    timezone: &str,
    snapshot: Option<&str>,
    sessions: &mut Vec<Session>,
    units: usize,
) -> Result<()> {
    let wanted = units.min(request.parallelism as usize);
    if wanted > 1 && snapshot.is_none() {
        let server = &request.source;
        pgrx::notice!("server \"{server}\" cannot share a snapshot, so each of its sessions reads its own");
    }
    while sessions.len() < wanted {
        connect(request, timezone, sessions)?;
        if let Some(session) = sessions.last_mut() {
            dialect::begin(session, snapshot)?;
        }
    }
    Ok(())
}

/// The statements of both sides, and the columns that they compare.
fn statements(
    request: &Request,
    method: Method,
    comparison: Comparison,
    integer_datetimes: bool,
) -> Result<(Vec<Work>, Vec<String>)> {
    let (mut here, mut there, mut names) = (Vec::new(), Vec::new(), Vec::new());
    if method == Method::Checksum {
        let columns = columns_to_compare(request.table, &comparison.target, &comparison.source)?;
        here = checksum::here(&columns, integer_datetimes);
        there = checksum::there(&columns, integer_datetimes);
        names = columns.into_iter().map(|column| column.name).collect();
    }
    let statement = |entries: &[String], relation: &str, filter: Option<&str>| match method {
        Method::Count => checksum::count(relation, filter),
        Method::Checksum => checksum::checksum(entries, relation, filter),
    };
    let mut work = Vec::new();
    for unit in comparison.units {
        let name = catalog::qualified_name(unit.partition)?;
        work.push(Work {
            here: Some(statement(&here, &format!("ONLY {name}"), None)),
            there: Some(statement(&there, &unit.source_relation, unit.source_filter.as_deref())),
            partition: Some(unit.partition),
            shown_name: Some(record::shown_name(unit.partition)?),
            source_relation: Some(unit.source_relation),
            source_parts: unit.source_parts,
            source_filter: unit.source_filter,
            name,
        });
    }
    for partition in comparison.vanished {
        let name = catalog::qualified_name(partition)?;
        work.push(Work {
            here: Some(checksum::count(&format!("ONLY {name}"), None)),
            there: None,
            partition: Some(partition),
            shown_name: Some(record::shown_name(partition)?),
            source_relation: None,
            source_parts: false,
            source_filter: None,
            name,
        });
    }
    for hole in comparison.holes {
        work.push(Work {
            here: None,
            there: Some(checksum::count(&hole.readable, Some(&hole.condition))),
            partition: None,
            shown_name: None,
            name: hole.relation,
            source_relation: Some(hole.readable),
            source_parts: true,
            source_filter: Some(hole.condition),
        });
    }
    Ok((work, names))
}

/// The columns that both sides have and a sync can write; a NOTICE names the others.
fn columns_to_compare(table: u32, target: &TargetTable, source: &SourceTable) -> Result<Vec<Compared>> {
    let mut types = types::column_types(table)?;
    let mut compared = Vec::new();
    let mut left_out = Vec::new();
    for column in target.columns.iter().filter(|c| !c.generated) {
        let there = source.columns.iter().find(|s| s.name == column.name);
        match there.zip(types.remove(&column.name)) {
            Some((there, here)) => compared.push(Compared {
                name: column.name.clone(),
                here,
                there: there.clone(),
                type_name: column.type_name.clone(),
            }),
            None => left_out.push(format!("\"{}\" is missing on the source", column.name)),
        }
    }
    for column in &source.columns {
        if !target.columns.iter().any(|t| t.name == column.name) {
            left_out.push(format!("\"{}\" is missing here", column.name));
        }
    }
    if compared.is_empty() {
        return Err(Error::new(
            sqlstate::DATATYPE_MISMATCH,
            "source and target have no column in common",
        )
        .hint("Use method => 'count' to compare the numbers of rows."));
    }
    if !left_out.is_empty() {
        pgrx::notice!("columns that are not compared: {}", tame_remark(&left_out.join(", ")));
    }
    Ok(compared)
}

/// Locks the unit before the snapshot is taken: what truncates or replaces it does not follow snapshots. Checks SELECT on the way.
fn lock(work: &Work) -> Result<()> {
    let Some(partition) = work.partition else { return Ok(()) };
    spi::execute(&format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", work.name), &[])?;
    if catalog::qualified_name(partition)? == work.name {
        return Ok(());
    }
    Err(Error::new(
        sqlstate::OBJECT_IN_USE,
        format!("{} was renamed while it was to be compared", work.name),
    )
    .hint("Run the same call again."))
}

/// What each side says, in the order of `work`.
type Both = (Vec<Option<Figures>>, Vec<Option<Figures>>);

/// Has all of `work` computed where its rows are. `columns` are what is read on the source by name.
fn drive(work: &[Work], columns: &[String], sessions: &mut [Session]) -> Result<Both> {
    let mut here: Vec<Option<Figures>> = Vec::with_capacity(work.len());
    let mut there: Vec<Option<Figures>> = vec![None; work.len()];
    let mut next = work
        .iter()
        .enumerate()
        .filter_map(|(index, work)| Some((index, work.there.as_ref()?)));
    let mut at: Vec<Option<usize>> = vec![None; sessions.len()];
    loop {
        for (session, at) in sessions.iter_mut().zip(&mut at) {
            let unit = |index: usize| format!("partition {}", work[index].name);
            // Until it has to be waited for, or nothing is left to begin.
            loop {
                let Some(index) = *at else {
                    let Some((index, statement)) = next.next() else { break };
                    session.start(labelled(&work[index].name, statement));
                    *at = Some(index);
                    continue;
                };
                let Some(rows) = session.poll().map_err(|e| e.within(&unit(index)))? else {
                    break;
                };
                there[index] = Some(figures(rows.first())?);
                if let Some(relation) = &work[index].source_relation {
                    let read = Read {
                        relation,
                        has_parts: work[index].source_parts,
                        columns,
                        state: None,
                    };
                    check_unchanged(session, read)?;
                }
                *at = None;
            }
        }
        if let Some(work) = work.get(here.len()) {
            here.push(match &work.here {
                Some(statement) => Some(count_here(statement)?),
                None => None,
            });
            continue;
        }
        let busy = sessions.iter().zip(&at).filter(|(_, at)| at.is_some());
        let sockets: Vec<_> = busy.map(|(session, _)| session.socket()).collect();
        if sockets.is_empty() {
            break;
        }
        wait::wait_any(&sockets, TICK);
    }
    if work
        .iter()
        .zip(&there)
        .any(|(work, there)| work.there.is_some() && there.is_none())
    {
        return Err(Error::internal("a unit was not computed on the source"));
    }
    Ok((here, there))
}

fn count_here(statement: &str) -> Result<Figures> {
    let rows = spi::select(statement)?;
    let row = rows.first();
    let row = row.map(|row| vec![row.text(0).map(str::to_owned), row.text(1).map(str::to_owned)]);
    figures(row.as_ref())
}

/// The source's statement, with the unit's name for who looks into pg_stat_activity there.
fn labelled(name: &str, statement: &str) -> String {
    let name = quote_literal(&format!("cgpsync verify: {name}"));
    format!("SET application_name = {name}; {statement}")
}

fn figures(row: Option<&TextRow>) -> Result<Figures> {
    let value = |at: usize| row.and_then(|row| row.get(at)).cloned().flatten();
    let rows = value(0).and_then(|count| count.parse().ok());
    Ok(Figures {
        rows: rows.ok_or_else(|| Error::protocol("a count of rows is missing"))?,
        checksum: value(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_one_side_has_does_not_match_or_cannot_be_compared() {
        let figures = |rows| Some(Figures { rows, checksum: None });
        let matches = |there, here| {
            let verified = Verified {
                partition: None,
                there,
                here,
                source_relation: None,
                source_filter: None,
            };
            verified.matches()
        };
        assert_eq!(matches(figures(1), figures(1)), Some(true));
        assert_eq!(matches(figures(1), figures(2)), Some(false));
        assert_eq!(matches(figures(0), None), Some(false));
        assert_eq!(matches(None, figures(1)), None);
    }
}
