//! Comparing both sides, unit by unit: counts or checksums, each computed where the rows are.
//!
//! All of it happens in the calling backend and nothing is written: no run, no process, no lock but ACCESS SHARE. The source's units
//! run side by side, a session each, in one snapshot there; this side's run one after the other, in one snapshot here, where the server
//! may use parallel plans. The backend asks the sessions in turn and computes a unit of its own whenever none of them has an answer.
//! Each unit is tried under a savepoint, here and there: what keeps one from being read leaves the others alone.

mod drive;
mod work;

use super::caller;
use super::planning;
use super::process::role_timezone;
use super::request::{Call, Request};
use super::sessions::{successor, with_target};
use super::state::Store;
use crate::error::{Error, Result, Side, sqlstate, tame_remark, tame_whole};
use crate::pg::{backend, report};
use crate::source::{self, Place};
use crate::targets::{self, Target};
use crate::wire::Session;
use drive::drive;
use work::{Work, work};

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

impl Figures {
    /// Of these rows and those of `other`.
    fn and(&self, other: &Figures) -> Result<Figures> {
        let number = |text: &String| {
            let number = text.parse::<i128>();
            number.map_err(|_| Error::protocol("a checksum is no whole number"))
        };
        let checksum = match (&self.checksum, &other.checksum) {
            (Some(own), Some(others)) => Some((number(own)? + number(others)?).to_string()),
            _ => None,
        };
        Ok(Figures {
            rows: self.rows + other.rows,
            checksum,
        })
    }
}

/// What a side has to say: None where there is nothing to ask it.
type Said = Option<Result<Figures>>;

/// A unit, compared.
#[derive(Debug)]
pub struct Verified {
    /// name of the target's partition, as cgpsync_run_partition has it; None: only the source has it
    pub partition: Option<String>,
    /// both sides are alike; None where nothing can be compared
    pub matches: Option<bool>,
    /// on the source; None: nothing is read there, or could be
    pub there: Option<Figures>,
    /// here; None: only the source has it, or it could not be read
    pub here: Option<Figures>,
    /// relation read on the source
    pub source_relation: Option<String>,
    /// condition on its rows
    pub source_filter: Option<String>,
    /// why nothing can be compared
    pub error: Option<String>,
}

/// What the result says where more is read than was asked for, and differs.
const NOT_TOLD: &str = "the source cannot tell these rows from those of partitions that are not compared";

impl Verified {
    fn new(work: Work, here: Said, there: Said) -> Verified {
        let shown = |error: &Error| {
            let detail = error
                .detail
                .as_deref()
                .filter(|_| error.sqlstate == sqlstate::LOCK_NOT_AVAILABLE);
            let more = detail.map(|detail| format!(": {detail}")).unwrap_or_default();
            let hint = error.hint.as_deref().map(|hint| format!(" Hint: {hint}"));
            tame_remark(&format!(
                "{} [{}]{more}{}",
                error.message,
                error.sqlstate,
                hint.unwrap_or_default()
            ))
        };
        let errors = [&there, &here].into_iter().flatten();
        let errors: Vec<String> = errors.filter_map(|said| said.as_ref().err().map(shown)).collect();
        let is_asked_there = there.is_some();
        let figures = |said: Said| said.and_then(Result::ok);
        let (here, there) = (figures(here), figures(there));
        let mut matches = (is_asked_there && errors.is_empty()).then(|| here == there);
        let mut error = (!errors.is_empty()).then(|| errors.join("; "));
        if work.has_others && matches == Some(false) {
            matches = None;
            error = Some(NOT_TOLD.to_owned());
        }
        let portion = work.portion.as_ref();
        Verified {
            partition: work.shown_name,
            matches,
            there,
            here,
            source_relation: portion.map(|portion| tame_whole(&portion.relation)),
            source_filter: portion.and_then(|portion| portion.filter.as_deref()).map(tame_whole),
            error,
        }
    }
}

/// Compares the units that `call` selects; rows come in the order of the partitions' names.
pub fn verify(call: Call, method: Method) -> Result<Vec<Verified>> {
    let mut request = caller::request(call, targets::check_wherever_it_is)?;
    request.parallelism = allowed_here(&request);
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

/// The number of sessions that the administrator lets this backend open. There is no process here whose settings no client's options reach: where
/// those have hidden what the administrator says, it is one.
fn allowed_here(request: &Request) -> i32 {
    let wanted = request.parallelism;
    let cap = request.max_parallelism.unwrap_or(1);
    if wanted > cap {
        let reason = match request.max_parallelism {
            Some(_) => "cgpsync.max_parallelism allows no more",
            None => "this session was given a value of cgpsync.max_parallelism that only a superuser may set",
        };
        report::notice(&format!("parallelism is {cap}, not {wanted}: {reason}"));
    }
    wanted.min(cap)
}

fn compare(request: &Request, method: Method, sessions: &mut Vec<Session>) -> Result<Vec<Verified>> {
    let timezone = pin_timezone()?;
    request.limit_lock_waits()?;
    with_target(request, &timezone, "cgpsync verify", |target| {
        compare_with(request, method, target, &timezone, sessions)
    })
}

fn compare_with(
    request: &Request,
    method: Method,
    target: &Target,
    timezone: &str,
    sessions: &mut Vec<Session>,
) -> Result<Vec<Verified>> {
    connect(request, target, timezone, None, sessions)?;
    let Some(first) = sessions.first_mut() else {
        return Err(Error::internal("no session on the source"));
    };
    let mut place = source::begin_shared(first)?;
    let keeper = successor(first, &mut place, |place| open(request, target, timezone, Some(place)))?;
    // What this session looks at it would have locked to the end.
    let (work, columns) = target.look(|| {
        let store = Store::open()?;
        store.find_again()?;
        let comparison = first.look(|first| planning::comparison(request, target, &store, first))?;
        work(method, target, comparison, first)
    })?;
    let locked = drive::lock_all(target, &work)?;
    join_in(request, target, timezone, &place, sessions, work.len())?;
    let snapshot = place.snapshot.as_deref();
    let (here, there) = target.in_one_snapshot(|| drive(target, &work, locked, &columns, sessions, snapshot))?;
    keeper.into_iter().for_each(Session::close);
    let mut said: Vec<_> = work.into_iter().zip(here.into_iter().zip(there)).collect();
    // Where no row turned out to be without a place, there is nothing to tell.
    let is_told = |there: &Said| {
        there
            .as_ref()
            .is_some_and(|said| said.as_ref().map_or(true, |f| f.rows > 0))
    };
    said.retain(|(work, (_, there))| work.shown_name.is_some() || is_told(there));
    said.sort_by(|(a, _), (b, _)| (a.shown_name.is_none(), &a.name).cmp(&(b.shown_name.is_none(), &b.name)));
    let verified = said
        .into_iter()
        .map(|(work, (here, there))| Verified::new(work, here, there));
    let verified: Vec<Verified> = verified.collect();
    warn(&verified);
    Ok(verified)
}

/// Most names in one warning.
const NAMED: usize = 10;

/// `WHERE NOT matches` does not show what could not be compared.
fn warn(verified: &[Verified]) {
    let failed = verified.iter().filter(|unit| unit.error.is_some());
    let names: Vec<&str> = failed
        .map(|unit| {
            unit.partition
                .as_deref()
                .or(unit.source_relation.as_deref())
                .unwrap_or("?")
        })
        .collect();
    if !names.is_empty() {
        let more = if names.len() > NAMED { ", …" } else { "" };
        let shown = names[..names.len().min(NAMED)].join(", ");
        let number = names.len();
        report::warning(&format!("{number} not compared, see column error: {shown}{more}"));
    }
}

/// Times without a zone are read in the zone that the server gives the role, as the processes of a run do; gives that. It ends with the call, as
/// everything does that is set within a function that has SET clauses.
fn pin_timezone() -> Result<String> {
    let timezone = role_timezone()?;
    backend::set_config("TimeZone", &timezone, true)?;
    Ok(timezone)
}

fn connect(
    request: &Request,
    target: &Target,
    timezone: &str,
    place: Option<&Place>,
    sessions: &mut Vec<Session>,
) -> Result<()> {
    sessions.push(open(request, target, timezone, place)?);
    Ok(())
}

fn open(request: &Request, target: &Target, timezone: &str, place: Option<&Place>) -> Result<Session> {
    let mut endpoint = request.endpoint()?;
    endpoint.reached = place.and_then(|place| place.peer);
    let name = "cgpsync verify";
    let mut session = match place {
        None => Session::open_here(&endpoint, name, &target.encoding(), timezone)?,
        // What there is to tell was told.
        Some(_) => Session::open(&endpoint, name, &target.encoding(), timezone)?,
    };
    session.limit_lock_waits(request.lock_timeout_ms);
    session.expect(place.and_then(|place| place.server.clone()));
    Ok(session)
}

/// Opens the other sessions, in the first one's snapshot if the server can share it.
fn join_in(
    request: &Request,
    target: &Target,
    timezone: &str,
    place: &Place,
    sessions: &mut Vec<Session>,
    units: usize,
) -> Result<()> {
    let wanted = units.min(request.parallelism as usize);
    if wanted > 1 && place.snapshot.is_none() {
        let server = &request.source;
        report::notice(&format!(
            "server \"{server}\" cannot share a snapshot, so each of its sessions reads its own"
        ));
    }
    while sessions.len() < wanted {
        let before = sessions.len();
        let joined =
            connect(request, target, timezone, Some(place), sessions).and_then(|()| match sessions.last_mut() {
                Some(session) => session.begin(place.snapshot.as_deref()),
                None => Ok(()),
            });
        match joined {
            Err(error) if error.side == Side::Source && error.sqlstate == sqlstate::TOO_MANY_CONNECTIONS => {
                report::notice(&format!(
                    "comparing with {before} of {wanted} connections: {}",
                    error.message
                ));
                Session::abandon_all(sessions.drain(before..));
                return Ok(());
            }
            joined => joined?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(rows: i64) -> Said {
        Some(Ok(Figures { rows, checksum: None }))
    }

    #[test]
    fn what_only_one_side_has_does_not_match_or_cannot_be_compared() {
        let matches = |here, there| Verified::new(Work::default(), here, there).matches;
        assert_eq!(matches(figures(1), figures(1)), Some(true));
        assert_eq!(matches(figures(2), figures(1)), Some(false));
        assert_eq!(matches(None, figures(0)), Some(false));
        assert_eq!(matches(figures(1), None), None);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let error = || Some(Err(Error::new("42501", "no\nright")));
        let unit = Verified::new(Work::default(), figures(1), error());
        assert_eq!((unit.matches, unit.error.as_deref()), (None, Some("no right [42501]")));
        assert_eq!(unit.here.map(|figures| figures.rows), Some(1));
        let both = Verified::new(Work::default(), error(), error());
        assert_eq!(both.error.as_deref(), Some("no right [42501]; no right [42501]"));
    }

    #[test]
    fn rows_of_others_among_them_prove_no_difference() {
        let with_others = |rows| {
            let work = Work {
                has_others: true,
                ..Work::default()
            };
            let unit = Verified::new(work, figures(rows), figures(1));
            (unit.matches, unit.error.is_some())
        };
        assert_eq!(with_others(1), (Some(true), false));
        assert_eq!(with_others(2), (None, true));
    }
}
