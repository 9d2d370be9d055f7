//! Replacing the rows of one unit, in one transaction of this process, after one that has looked: afterwards the unit holds exactly what the source
//! sent, or the transaction fails and it holds what it held.

use super::copy_in::CopyIn;
use super::facts::Needs;
use super::not_valid::{self, SetAside};
use super::swap::{self, Swap};
use super::team::Team;
use super::{Local, by_pages, effects, facts, own_code, rights};
use crate::catalog::defaults;
use crate::error::{Error, Result, sqlstate};
use crate::pg::relation::{self, Against};
use crate::pg::{backend, pages, report, spi, xact};
use crate::plan::replace::{Replace, Way};
use crate::source::Reader;
use crate::targets::loading::{Loaded, Moved, Pieces, What, holds_vanished};

/// What was loaded, and by whom.
struct Done {
    moved: Moved,
    processes: u32,
    remark: Option<String>,
    /// constraints that rows were not checked against
    unchecked: Vec<String>,
    /// pages are of our own making
    by_pages: bool,
}

impl Done {
    /// By one process.
    fn alone(moved: Moved) -> Done {
        Done {
            moved,
            processes: 1,
            remark: None,
            unchecked: Vec::new(),
            by_pages: false,
        }
    }
}

/// What is known of a unit before it is locked.
struct Ahead {
    /// quoted, qualified
    name: String,
    /// the partitioned tables above it, from the top
    parents: Vec<u32>,
    way: Way,
    obstacle: Option<String>,
    needs: Needs,
    /// the processes that may load it, if that is more than this one
    team: Option<Team>,
}

/// Empties the unit, fills it, checks that what was read is what was planned, records it, and shows it. SQL runs under the caller's role.
///
/// In two transactions. The first one looks. The second one waits for locks before it has a snapshot, and makes sure that what was seen is still
/// so: with a snapshot it would be waited for by the same who has the lock, such as REINDEX CONCURRENTLY.
pub fn replace(
    local: &Local,
    what: &What<'_>,
    reader: &mut Reader,
    record: &mut dyn FnMut(&Loaded) -> Result<()>,
) -> Result<Loaded> {
    let name = format!("cgpsync run {}: {}", what.crew.run_id, what.unit.name);
    let pieces = reader.begin_unit(&name, what.portion, what.size)?;
    let into = CopyIn {
        table: local.table,
        unit: what.unit.oid()?,
        columns: what.columns,
        binary: what.binary,
        filter: what.filter,
        path: &backend::path_of_role(),
        gauge: what.gauge,
        pages: None,
    };
    what.gauge.begin();
    let replaced = xact::transaction(|| look_ahead(local, what, &into, pieces, reader))
        .and_then(|ahead| replace_as_seen(local, what, &into, ahead, reader, record));
    replaced.map_err(|error| {
        let mut explained = error.clone();
        let explain = || {
            explained = not_valid::explain(into.unit, own_code::explain(local, what, error.clone()));
            Ok(())
        };
        match error.is_cancel() || xact::transaction(explain).is_err() {
            true => error,
            false => explained,
        }
    })
}

fn replace_as_seen(
    local: &Local,
    what: &What<'_>,
    into: &CopyIn<'_>,
    mut ahead: Ahead,
    reader: &mut Reader,
    record: &mut dyn FnMut(&Loaded) -> Result<()>,
) -> Result<Loaded> {
    xact::transaction_without_snapshot(|| {
        backend::set_locally(c"lock_timeout", &what.limits.attempt.as_millis().to_string())?;
        backend::set_locally(c"synchronous_commit", what.synchronous_commit)?;
        let mut team = ahead.team.take();
        let (done, old) = match &mut team {
            Some(team) => {
                let first = team.first()?;
                team.load(|team| fill(local, what, into, &ahead, &first, Some(team), reader))?
            }
            None => {
                let copy_sql = reader.copy_all_sql(what.portion, what.columns, what.binary);
                fill(local, what, into, &ahead, &copy_sql, None, reader)?
            }
        };
        reader.end_unit(what.portion, what.columns)?;
        let loaded = Loaded {
            moved: done.moved,
            way: ahead.way,
            by_pages: done.by_pages,
            processes: done.processes,
            remark: done.remark,
            obstacle: ahead.obstacle.take(),
            storage: local.storage_of(into.unit)?,
            unchecked: done.unchecked,
        };
        record(&loaded)?;
        // The last thing before the commit: from here on others wait.
        if let Some(swap) = old {
            swap.show(loaded.moved.bytes, what.limits)?;
        }
        Ok(loaded)
    })
}

fn look_ahead(
    local: &Local,
    what: &What<'_>,
    into: &CopyIn<'_>,
    pieces: Vec<String>,
    reader: &mut Reader,
) -> Result<Ahead> {
    let unit = into.unit;
    let name = facts::qualified_name(unit)?;
    facts::check_privileges(unit, &name)?;
    let needs = facts::needs(unit)?;
    own_code::try_indexes(local, what, (unit, &needs), reader)?;
    // What is to be truncated anyway needs no reason; and what was to be swapped at any price is an error if it has one.
    let obstacle = match what.replace {
        Replace::Truncate => None,
        _ => swap::obstacle(unit)?,
    };
    Ok(Ahead {
        way: what.replace.way(Way::Swap, &name, obstacle.as_deref())?,
        parents: facts::parents_of(unit)?,
        team: team(local, what, into, pieces, reader)?,
        name,
        needs,
        obstacle,
    })
}

/// A team for a unit whose pieces several processes may read and load.
fn team(
    local: &Local,
    what: &What<'_>,
    into: &CopyIn<'_>,
    pieces: Vec<String>,
    reader: &Reader,
) -> Result<Option<Team>> {
    if pieces.is_empty() || reader.place.snapshot.is_none() {
        return Ok(None);
    }
    let shared = effects::can_be_shared(local, what, into.unit)?;
    Ok(shared.then(|| Team::new(what, into, pieces, reader)))
}

/// Locks the unit, empties it and fills it from `copy_sql` on the source, then with what else there is of `pieces`. The source's COPY is begun
/// first: what it refuses has then not cost a lock.
fn fill(
    local: &Local,
    what: &What<'_>,
    into: &CopyIn<'_>,
    ahead: &Ahead,
    copy_sql: &str,
    pieces: Option<&mut dyn Pieces>,
    reader: &mut Reader,
) -> Result<(Done, Option<Swap>)> {
    let unit = into.unit;
    let own_reader = reader.session.backend().filter(|_| reader.is_here).map(str::to_owned);
    let mut rows_of_source = reader.copy(copy_sql, what.gauge)?;
    lock(unit, ahead, own_reader.as_deref())?;
    xact::take_snapshot();
    if pieces.is_none() {
        // It has begun: whatever it waited for, the run's snapshot was there for another attempt.
        what.gauge.take_piece();
    }
    empty(what, into, ahead)?;
    if pieces.is_some() && !effects::can_be_shared(local, what, unit)? {
        return Err(moved_on(&ahead.name, "altered", "it was to be replaced"));
    }
    let defaults = other_defaults(local, what, into, &ahead.name, pieces.is_some())?;
    let old = match ahead.way {
        Way::Truncate => None,
        _ => Some(Swap::begin(
            unit,
            own_code::path_of_indexes(ahead.needs.is_own),
            || effects::looks_back(local, what, unit),
        )?),
    };
    let aside = match ahead.needs.has_not_valid && ahead.needs.is_own {
        true => SetAside::begin(unit)?,
        false => SetAside::default(),
    };
    let keeps_indexes = old.as_ref().is_some_and(Swap::keeps_indexes);
    let layout = match what.page_writer && what.binary && !what.filter && !keeps_indexes {
        true => by_pages::layout(unit, what.columns)?,
        false => None,
    };
    let into = &CopyIn {
        pages: layout.as_ref(),
        ..*into
    };
    let mut done = match pieces {
        None => Done::alone(into.load_with(&defaults, &mut rows_of_source)?),
        Some(pieces) => {
            pieces.begin(ahead.way == Way::Swap, into.pages)?;
            let first = into.load(rows_of_source)?;
            load_rest(into, pieces, first, reader)?
        }
    };
    done.by_pages = layout.is_some();
    if let Some(layout) = &layout {
        pages::finish(unit, layout, what.gauge.blocks())?;
    }
    aside.end()?;
    done.unchecked = aside.names;
    if let Some(swap) = &old {
        swap.build_indexes()?;
    }
    // Deferred ones would run within the commit, when readers wait for it already, and without the role's search_path.
    backend::with_path(into.path, || spi::execute("SET CONSTRAINTS ALL IMMEDIATE", &[]))?;
    Ok((done, old))
}

/// Loads the pieces after the first, together with the others.
fn load_rest(into: &CopyIn<'_>, pieces: &mut dyn Pieces, first: Moved, reader: &mut Reader) -> Result<Done> {
    let mut moved = first;
    while let Some(copy_sql) = pieces.next()? {
        moved += into.load(reader.copy(&copy_sql, into.gauge)?)?;
    }
    let others = pieces.finish()?;
    relation::count_loaded(into.unit, others.rows);
    moved += others;
    Ok(Done {
        processes: pieces.processes(),
        remark: pieces.remark().map(str::to_owned),
        ..Done::alone(moved)
    })
}

/// Locks what is above the unit, and the unit, before this transaction has a snapshot. Loading needs the parents for the partition's constraint;
/// whoever attaches, detaches or reads locks parents before children, and the other way round is a deadlock with each of them.
/// `own_reader`: the process that reads the source, if that is a process of this server.
fn lock(unit: u32, ahead: &Ahead, own_reader: Option<&str>) -> Result<()> {
    ahead
        .parents
        .iter()
        .for_each(|parent| relation::lock(*parent, Against::Removal));
    if let (Way::Truncate, Some(reader)) = (ahead.way, own_reader)
        && xact::with_snapshot(|| facts::has_locked(reader, unit))?
    {
        let hint = match &ahead.obstacle {
            Some(obstacle) => format!(
                "It has to be truncated, as {obstacle}: remove that, or read a table that does not lead back to this one."
            ),
            None => "Pass replace => 'swap', which lets it read to the end, or read a table that does not lead back to this one.".to_owned(),
        };
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{} cannot be truncated: what is read has it locked", ahead.name),
        )
        .detail(format!(
            "The source is this server, where process {reader} reads it for this run."
        ))
        .hint(hint));
    }
    let against = match ahead.way {
        Way::Truncate => Against::Everybody,
        _ => Against::Writers,
    };
    relation::lock(unit, against);
    Ok(())
}

/// The unit is not what it was.
fn moved_on(name: &str, how: &str, when: &str) -> Error {
    Error::new(sqlstate::OBJECT_IN_USE, format!("{name} was {how} while {when}")).hint("Run the same call again.")
}

/// Makes sure that the unit, now locked, is what was planned and seen, and truncates it if that is the way.
fn empty(what: &What<'_>, into: &CopyIn<'_>, ahead: &Ahead) -> Result<()> {
    let (unit, name) = (into.unit, &ahead.name);
    // TRUNCATE goes by name: it must be this unit's, and not that of a table renamed to it meanwhile.
    let (name_now, types_now) = facts::name_and_types(unit)?;
    if name_now != *name {
        return Err(moved_on(name, "renamed", "it was to be replaced"));
    }
    // In COPY's binary form a value of one type can be another one of another, and nobody would notice.
    let is_as_planned = |(column, planned): (&String, &String)| types_now.get(column) == Some(planned);
    if !what.columns.iter().zip(what.types).all(is_as_planned) {
        return Err(moved_on(name, "given other columns", "the run was on").final_one());
    }
    // Loading would lock new parents, after the partition; and what was detached, or has other bounds, is not what was planned.
    let (parents_now, bounds) = place_of(unit, into.table)?;
    let is_below = unit == into.table || ahead.parents.contains(&into.table);
    if parents_now != ahead.parents || !is_below || what.bound.is_some_and(|planned| planned != bounds) {
        return Err(moved_on(name, "attached or detached", "the run was on"));
    }
    if ahead.way == Way::Swap && swap::obstacle(unit)?.is_some() {
        return Err(moved_on(name, "altered", "it was to be replaced"));
    }
    facts::check_privileges(unit, name)?;
    if let Some(condition) = what.vanished {
        check_vanished(unit, name, condition)?;
    }
    match ahead.way {
        // Its triggers find what they name as those of the rows do.
        Way::Truncate => {
            report::catch(|| backend::with_path(into.path, || spi::execute(&format!("TRUNCATE ONLY {name}"), &[])))
                .map(|_| ())
                .map_err(swap::referenced)
        }
        _ => Ok(()),
    }
}

/// Columns of the unit, called `name`, that get the table's default instead of the unit's own. With
/// its locks held, so that they stay what they are; the run was planned before.
fn other_defaults(
    local: &Local,
    what: &What<'_>,
    into: &CopyIn<'_>,
    name: &str,
    in_pieces: bool,
) -> Result<Vec<String>> {
    if !what.leaves_out {
        return Ok(Vec::new());
    }
    let columns = defaults::of_unit(&mut local.database(), into.table, into.unit, what.columns)?;
    if !columns.is_empty() && (what.binary || in_pieces) {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("defaults of {name} or of the tables above were changed while the run was on"),
        )
        .hint("Run the same call again."));
    }
    Ok(columns)
}

/// Fails if the unit holds rows whose range the source has no partition for any more. Looks as the unit's owner: the caller need not be
/// able to read it, and learns no more than this.
fn check_vanished(unit: u32, name: &str, condition: &str) -> Result<()> {
    if relation::is_empty(unit) {
        return Ok(());
    }
    let owner = rights::owner(unit)?;
    let sql = format!("SELECT EXISTS (SELECT FROM ONLY {name} WHERE {condition})");
    let rows = backend::as_tables_owner(owner, || match rights::others_code_in_keys(unit)? {
        None => spi::execute(&sql, &[]),
        Some(code) => Err(Error::new(
            sqlstate::INSUFFICIENT_PRIVILEGE,
            format!("whether {name} holds rows whose range has vanished from the source cannot be asked"),
        )
        .detail(format!(
            "A key is, or has in it, {code}, which is not the partition's owner."
        ))
        .hint("Pass vanished => 'empty' to replace it by what the source has.")
        .final_one()),
    })?;
    if !rows.first().is_some_and(|row| row.is(0)) {
        return Ok(());
    }
    Err(holds_vanished(name, condition))
}

/// The same as [`facts::parents_of`]; and the bounds of the unit and of those between it and `table`, as a plan has
/// them.
pub(super) fn place_of(unit: u32, table: u32) -> Result<(Vec<u32>, String)> {
    let rows = facts::ask(
        "SELECT a.relid::oid, pg_get_expr(c.relpartbound, 0)
         FROM pg_partition_ancestors($1::oid::regclass) WITH ORDINALITY AS a(relid, n) JOIN pg_class c ON c.oid = a.relid
         ORDER BY a.n",
        &[Some(&unit.to_string())],
    )?;
    let chain: Vec<u32> = rows.iter().map(|row| row.need(0)).collect::<Result<_>>()?;
    let below = chain.iter().take_while(|relation| **relation != table).count();
    let bounds: Vec<&str> = rows.iter().take(below).filter_map(|row| row.text(1)).collect();
    let parents = chain.into_iter().filter(|relation| *relation != unit).rev().collect();
    Ok((parents, bounds.join("; ")))
}
