//! Replacing the rows of one unit, in the caller's transaction: afterwards the unit holds exactly what the source sent, or the
//! transaction fails and it holds what it held. The one interface behind which the ways of replacing stand.

use super::swap::{self, Limits, Swap};
use super::trust;
use super::{catalog, defaults};
use crate::error::{Error, Result, sqlstate};
use crate::pg::board::Gauge;
use crate::pg::copy::{self, Counted};
use crate::pg::defaults::{self as filling, Defaults};
use crate::pg::storage::{self, Against};
use crate::pg::{session, spi};
use crate::plan::replace::{Replace, Way};
use crate::source::Session;
use crate::source::copy_out::CopyOut;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;

/// What is to be loaded.
#[derive(Debug)]
pub struct What<'a> {
    /// the target table
    pub table: u32,
    /// its partition, or itself
    pub unit: u32,
    /// columns in the order of the data
    pub columns: &'a [String],
    /// COPY's binary format
    pub binary: bool,
    /// the data holds rows of other partitions, which are dropped and counted
    pub filter: bool,
    /// some column is neither copied nor generated
    pub leaves_out: bool,
    /// how others see the new rows
    pub replace: Replace,
    /// where its progress shows
    pub gauge: Gauge,
    /// condition on rows here whose range the source has no partition for any more: they are not replaced
    pub vanished: Option<&'a str>,
    /// bounds of the unit and of what is above it up to the table, as planned with
    pub bound: Option<&'a str>,
}

impl What<'_> {
    /// Loads what a COPY of the source sends, all of it.
    pub fn load(&self, mut rows_of_source: CopyOut<'_>) -> Result<Moved> {
        self.load_with(&[], &mut rows_of_source)
    }

    /// The same; columns in `defaults` are filled with the table's defaults rather than the unit's.
    fn load_with(&self, defaults: &[String], rows_of_source: &mut CopyOut<'_>) -> Result<Moved> {
        let load = |columns: &[String], rows: &mut dyn copy::Source| {
            copy::load(self.unit, columns, self.binary, &session::encoding(), self.filter, rows)
        };
        let counted = match defaults.is_empty() {
            true => load(self.columns, rows_of_source)?,
            false => {
                let values = Defaults::of(self.table, defaults)?;
                let columns = [self.columns, defaults].concat();
                load(&columns, &mut filling::completed(rows_of_source, values))?
            }
        };
        let rows = complete(rows_of_source.rows()?, counted)?;
        let bytes = rows_of_source.bytes();
        Ok(Moved { rows, bytes })
    }

    /// Loads the pieces after the first, together with the others.
    fn load_rest(&self, pieces: &mut dyn Pieces, source: &mut Session) -> Result<Moved> {
        let mut moved = Moved::default();
        while let Some(copy_sql) = pieces.next()? {
            moved += self.load(source.copy_out(&copy_sql, self.gauge)?)?;
        }
        let others = pieces.finish()?;
        storage::count_loaded(self.unit, others.rows);
        moved += others;
        Ok(moved)
    }
}

/// The number of rows loaded, if all that were sent are there, or were left out by the condition.
fn complete(sent: u64, counted: Counted) -> Result<u64> {
    let Counted { loaded, left_out } = counted;
    if left_out.and_then(|left_out| loaded.checked_add(left_out)) == Some(sent) {
        return Ok(loaded);
    }
    let (message, detail) = match left_out {
        Some(0) => (
            format!("{sent} rows were sent and {loaded} loaded"),
            "A trigger that skips rows makes the copy incomplete.",
        ),
        Some(elsewhere) => (
            format!("{sent} rows were sent, {elsewhere} of them of other partitions, and {loaded} loaded"),
            "A trigger that skips rows makes the copy incomplete.",
        ),
        None => (
            format!("{sent} rows were sent and {loaded} loaded, and how many are of other partitions is not known"),
            "A trigger has run a command of its own that shows progress, in the place where the rows are counted.",
        ),
    };
    Err(Error::protocol(message)
        .detail(detail)
        .hint("Disable the trigger on this partition for the sync, or let it raise an error."))
}

impl AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

/// What became of a unit.
#[derive(Debug)]
pub struct Loaded {
    /// rows now in the unit
    pub moved: Moved,
    /// how it was done
    pub way: Way,
    /// how many loaded it
    pub processes: u32,
    /// why they were not more
    pub remark: Option<String>,
    /// why it was truncated where it would have been swapped
    pub obstacle: Option<String>,
    /// what readers see still
    old: Option<Swap>,
}

impl Loaded {
    /// What the user should know.
    pub fn remarks(&self) -> Vec<String> {
        let obstacle = self.obstacle.as_ref();
        let truncated = obstacle.map(|obstacle| format!("truncated, so that readers wait: {obstacle}"));
        truncated.into_iter().chain(self.remark.clone()).collect()
    }

    /// The last thing before the commit: from here on others wait. `limits` bound how long they may, and this for them.
    pub fn show(self, limits: Limits) -> Result<()> {
        match self.old {
            Some(swap) => swap.show(self.moved.bytes, limits),
            None => Ok(()),
        }
    }
}

/// Rows that came, and bytes of COPY.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Moved {
    /// rows loaded
    pub rows: u64,
    /// bytes received
    pub bytes: u64,
}

/// The pieces of a unit that is loaded by more than one process.
pub trait Pieces {
    /// The unit is empty. Others may begin, if it is to be `shared`.
    fn begin(&mut self, shared: bool) -> Result<()>;
    /// The statement that reads the next piece; None when there is none left for this process.
    fn next(&mut self) -> Result<Option<String>>;
    /// Waits for the others; what they have loaded.
    fn finish(&mut self) -> Result<Moved>;
    /// How many have taken part, this process included.
    fn processes(&self) -> u32;
    /// Why they were not more.
    fn remark(&self) -> Option<&str>;
}

/// Empties the unit and fills it from `copy_sql` on the source, then with what else there is of `pieces`. The source's COPY is begun first:
/// what it refuses has then not cost a lock. SQL runs under the caller's role; lock_timeout is the caller's.
pub fn replace(
    what: &What<'_>,
    copy_sql: &str,
    pieces: Option<&mut dyn Pieces>,
    source: &mut Session,
) -> Result<Loaded> {
    let unit = what.unit;
    what.gauge.begin();
    let name = catalog::qualified_name(unit)?;
    catalog::check_privileges(unit, &name)?;
    let mut rows_of_source = source.copy_out(copy_sql, what.gauge)?;
    let parents = lock_parents(unit)?;
    // What is to be truncated anyway needs no reason; and what was to be swapped at any price is an error if it has one.
    let obstacle = match what.replace {
        Replace::Truncate => None,
        Replace::Auto | Replace::Swap => swap::obstacle(unit)?,
    };
    let way = what.replace.way(&name, obstacle.as_deref())?;
    match way {
        Way::Swap => storage::lock(unit, Against::Writers),
        Way::Truncate if what.vanished.is_some() => {
            // Looked at before it is too late; who writes meanwhile is waited for.
            storage::lock(unit, Against::Everybody);
            if catalog::qualified_name(unit)? == name {
                check_vanished(unit, &name, what.vanished.unwrap_or("true"))?;
            }
            spi::execute(&format!("TRUNCATE ONLY {name}"), &[]).map(|_| ())?;
        }
        Way::Truncate => spi::execute(&format!("TRUNCATE ONLY {name}"), &[]).map(|_| ())?,
    }
    // TRUNCATE goes by name: with the lock held, make sure that it was this unit's, and not that of a table renamed to it meanwhile.
    if catalog::qualified_name(unit)? != name {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{name} was renamed while it was to be replaced"),
        )
        .hint("Run the same call again."));
    }
    // Loading would lock new parents, after the partition; and what was detached, or has other bounds, is not what was planned.
    let (parents_now, bounds) = place_of(unit, what.table)?;
    let is_below = unit == what.table || parents.contains(&what.table);
    if parents_now != parents || !is_below || what.bound.is_some_and(|planned| planned != bounds) {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("{name} was attached or detached while the run was on"),
        )
        .hint("Run the same call again."));
    }
    if let Some(condition) = what.vanished
        && way == Way::Swap
    {
        check_vanished(unit, &name, condition)?;
    }
    let defaults = other_defaults(what, &name, pieces.is_some())?;
    let old = match way {
        Way::Swap => Some(Swap::begin(unit)?),
        Way::Truncate => None,
    };
    let (moved, processes, remark) = match pieces {
        None => (what.load_with(&defaults, &mut rows_of_source)?, 1, None),
        Some(pieces) => {
            pieces.begin(way == Way::Swap)?;
            let mut moved = what.load(rows_of_source)?;
            moved += what.load_rest(pieces, source)?;
            (moved, pieces.processes(), pieces.remark().map(str::to_owned))
        }
    };
    if let Some(swap) = &old {
        swap.build_indexes();
        // Deferred ones would run within the commit, when readers wait for it already.
        spi::execute("SET CONSTRAINTS ALL IMMEDIATE", &[])?;
    }
    Ok(Loaded {
        moved,
        processes,
        remark,
        way,
        obstacle,
        old,
    })
}

/// Columns of the unit, called `name`, that get the table's default instead of the unit's own. With
/// its locks held, so that they stay what they are; the run was planned before.
fn other_defaults(what: &What<'_>, name: &str, in_pieces: bool) -> Result<Vec<String>> {
    if !what.leaves_out {
        return Ok(Vec::new());
    }
    let columns = defaults::of_unit(what.table, what.unit, what.columns)?;
    if !columns.is_empty() && (what.binary || in_pieces) {
        return Err(Error::new(
            sqlstate::OBJECT_IN_USE,
            format!("defaults of {name} or of the tables above were changed while the run was on"),
        )
        .hint("Run the same call again."));
    }
    Ok(columns)
}

/// Whether processes that share a transaction may load the unit of `table`: nothing that its rows
/// set off may write, or be confined to one process, and all of them have to log what they change.
/// With `leaves_out`, some column is neither copied nor generated.
pub fn can_be_shared(table: u32, unit: u32, columns: &[String], leaves_out: bool) -> Result<bool> {
    if leaves_out && !defaults::of_unit(table, unit, columns)?.is_empty() {
        return Ok(false);
    }
    let columns = serde_json::to_string(columns).map_err(|e| Error::internal(e.to_string()))?;
    let rows = spi::execute(
        "WITH own AS (
           SELECT 'pg_constraint'::regclass AS class, oid FROM pg_constraint WHERE conrelid = $1::oid AND contype = 'c'
           UNION ALL SELECT 'pg_attrdef'::regclass, oid FROM pg_attrdef WHERE adrelid = $1::oid
           UNION ALL SELECT 'pg_constraint'::regclass, n.oid FROM pg_attribute a JOIN pg_constraint n ON n.contypid = a.atttypid
                     WHERE a.attrelid = $1::oid)
         SELECT current_setting('wal_level') <> 'minimal'
            AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = $1::oid AND t.tgtype & 4 <> 0 AND t.tgenabled <> 'D')
            AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
                            AND (a.atthasdef OR a.attidentity <> '') AND a.attgenerated = ''
                            AND NOT to_jsonb(a.attname::text) <@ $2::jsonb)
            AND NOT EXISTS (SELECT FROM own JOIN pg_depend d ON d.classid = own.class AND d.objid = own.oid
                            LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
                            WHERE d.refclassid = 'pg_operator'::regclass OR p.proparallel <> 's')
            AND NOT EXISTS (SELECT FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                            JOIN pg_proc p ON p.oid IN (t.typinput, t.typreceive)
                            WHERE a.attrelid = $1::oid AND a.attnum > 0 AND p.proparallel <> 's')",
        &[Some(&unit.to_string()), Some(&columns)],
    )?;
    Ok(rows.first().is_some_and(|row| row.is(0)))
}

/// Gathers statistics of the unit, if the role may and nobody else is at it. An owner may; since 17 there is a privilege for it as well.
pub fn analyze(unit: u32) -> Result<()> {
    let may = session::MAY_MAINTAIN;
    let rows = spi::execute(
        &format!(
            "SELECT {may} OR (pg_has_role(d.datdba, 'USAGE') AND NOT c.relisshared)
             FROM pg_class c JOIN pg_database d ON d.datname = current_database() WHERE c.oid = $1::oid"
        ),
        &[Some(&unit.to_string())],
    )?;
    if rows.first().is_some_and(|row| row.is(0)) {
        let name = catalog::qualified_name(unit)?;
        spi::execute(&format!("ANALYZE (SKIP_LOCKED) {name}"), &[])?;
    }
    Ok(())
}

/// Fails if the unit holds rows whose range the source has no partition for any more. Looks as the unit's owner: the caller need not be
/// able to read it, and learns no more than this.
fn check_vanished(unit: u32, name: &str, condition: &str) -> Result<()> {
    if storage::is_empty(unit) {
        return Ok(());
    }
    let owner = trust::owner(unit)?;
    let sql = format!("SELECT EXISTS (SELECT FROM ONLY {name} WHERE {condition})");
    let rows = session::as_tables_owner(owner, || match trust::others_code_in_keys(unit)? {
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
    let error = Error::new(
        sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("{name} holds rows whose range has vanished from the source"),
    )
    .detail(match condition {
        "(true)" => "The source lacks a HASH partition, and which rows it had cannot be told.".to_owned(),
        _ => format!("The source has no partition any more for rows with {condition}."),
    })
    .hint("Pass vanished => 'empty' to replace it by what the source has, or move these rows elsewhere first.");
    Err(error.final_one())
}

/// The same as [`catalog::parents_of`]; and the bounds of the unit and of those between it and `table`, as a plan has
/// them.
pub(super) fn place_of(unit: u32, table: u32) -> Result<(Vec<u32>, String)> {
    let rows = spi::execute(
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

/// Locks the parents, and gives them. Loading needs them for the partition's constraint. Whoever attaches, detaches or reads locks parents
/// before children; taking them the other way round, after the TRUNCATE, is a deadlock with each of them.
pub(super) fn lock_parents(unit: u32) -> Result<Vec<u32>> {
    let mut locked = Vec::new();
    loop {
        // While this waited, the partition may have got others.
        let parents = catalog::parents_of(unit)?;
        if parents == locked {
            return Ok(locked);
        }
        parents
            .iter()
            .for_each(|parent| storage::lock(*parent, Against::Removal));
        locked = parents;
    }
}
