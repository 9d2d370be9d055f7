//! What is to be computed, as statements.

use super::Method;
use crate::catalog::Database;
use crate::error::{Error, Result, sqlstate};
use crate::pg::report;
use crate::plan::checksum::{self, Abilities, Checksum, Compared};
use crate::plan::copy_sql::display_name;
use crate::plan::tables::{Table, Unit};
use crate::plan::types::FIRST_GENERATED_OID;
use crate::run::planning::Comparison;
use crate::run::state;
use crate::source::Portion;
use crate::targets::Target;
use crate::wire::Session;

/// A unit on both sides, partitions that only together have what is read on the source, a partition here that the source has no
/// more, or rows of the source that no partition here takes.
#[derive(Debug, Default)]
pub struct Work {
    /// quoted, qualified name of the target's partition; without one, the source's relation
    pub name: String,
    /// the partition's, as it is shown
    pub shown_name: Option<String>,
    /// the tables that are read here
    pub tables: Vec<Unit>,
    /// they hold rows that the call does not ask for
    pub has_others: bool,
    /// statements for this side, one for each of `tables`
    pub here: Vec<String>,
    /// statement for the source
    pub there: Option<String>,
    /// what is read on the source
    pub portion: Option<Portion>,
}

/// Makes statements of tables and conditions.
struct Statements {
    /// what sums up, with the columns of both sides; None: rows are counted
    checksum: Option<(Checksum, checksum::Entries)>,
}

impl Statements {
    fn here(&self, tables: &[Unit]) -> Vec<String> {
        let one = |unit: &Unit| {
            let relation = format!("ONLY {}", unit.name);
            match &self.checksum {
                Some((checksum, entries)) => checksum.of(&entries.here, &relation, None),
                None => checksum::count(&relation, None),
            }
        };
        tables.iter().map(one).collect()
    }

    fn there(&self, portion: &Portion) -> String {
        let filter = portion.filter.as_deref();
        match &self.checksum {
            Some((checksum, entries)) => checksum.of(&entries.there, &portion.relation, filter),
            None => checksum::count(&portion.relation, filter),
        }
    }
}

/// How cgpsync_run_partition names a unit.
fn shown_name(target: &Target, unit: &Unit) -> Result<String> {
    match target.elsewhere() {
        None => state::shown_name(unit.oid()?),
        Some(_) => Ok(display_name(&unit.name)),
    }
}

/// What sums up the rows of both sides, with the columns that are read on the source by name.
fn checksum(
    comparison: &Comparison,
    target: &Target,
    session: &Session,
) -> Result<(Checksum, checksum::Entries, Vec<String>)> {
    let compared = columns_to_compare(&comparison.target, &comparison.source)?;
    let checksum = Checksum::new(Abilities {
        version: session.server().version,
        integer_datetimes: session.has_integer_datetimes(),
        sha256: session.server().has_function("sha256") && target.version()? >= 110_000,
    });
    let entries = checksum.entries(&compared);
    if !entries.converted.is_empty() {
        report::notice(&format!(
            "no cast leads back to the source's type, so what the copy makes of it is compared: {}",
            entries.converted.join(", ")
        ));
    }
    let columns = compared.into_iter().map(|column| column.name).collect();
    Ok((checksum, entries, columns))
}

/// All of it, and the columns that are read on the source by name.
pub fn work(
    method: Method,
    target: &Target,
    comparison: Comparison,
    session: &Session,
) -> Result<(Vec<Work>, Vec<String>)> {
    let (statements, columns) = match method {
        Method::Count => (Statements { checksum: None }, Vec::new()),
        Method::Checksum => {
            let (checksum, entries, columns) = checksum(&comparison, target, session)?;
            let checksum = Some((checksum, entries));
            (Statements { checksum }, columns)
        }
    };
    let mut work = Vec::new();
    for group in comparison.groups {
        work.push(Work {
            has_others: group.has_others,
            ..pair(&statements, target, group.parent, &group.leaves, group.portion)?
        });
    }
    for unit in comparison.units {
        let oid = unit.unit.oid()?;
        let portion = Portion {
            relation: unit.source_relation,
            filter: unit.source_filter,
            has_parts: unit.source_parts,
            state: None,
        };
        work.push(pair(&statements, target, oid, &[oid], portion)?);
    }
    for partition in comparison.vanished {
        let oid = partition.oid()?;
        let unit = target.unit_of(oid)?;
        work.push(Work {
            here: vec![checksum::count(&format!("ONLY {}", unit.name), None)],
            shown_name: Some(shown_name(target, &unit)?),
            name: unit.name.clone(),
            tables: vec![unit],
            ..Work::default()
        });
    }
    for hole in comparison.holes {
        work.push(Work {
            there: Some(checksum::count(&hole.readable, Some(&hole.condition))),
            name: hole.relation,
            portion: Some(Portion {
                relation: hole.readable,
                filter: Some(hole.condition),
                has_parts: true,
                state: None,
            }),
            ..Work::default()
        });
    }
    Ok((work, columns))
}

/// What both sides have: `leaves` here, shown as `partition`.
fn pair(statements: &Statements, target: &Target, partition: u32, leaves: &[u32], portion: Portion) -> Result<Work> {
    let tables: Vec<Unit> = leaves.iter().map(|leaf| target.unit_of(*leaf)).collect::<Result<_>>()?;
    let unit = target.unit_of(partition)?;
    Ok(Work {
        shown_name: Some(shown_name(target, &unit)?),
        name: unit.name,
        has_others: false,
        here: statements.here(&tables),
        there: Some(statements.there(&portion)),
        tables,
        portion: Some(portion),
    })
}

/// The columns that both sides have; a NOTICE names the others, but for those that are computed here alone.
fn columns_to_compare(target: &Table, source: &Table) -> Result<Vec<Compared>> {
    let mut compared = Vec::new();
    let mut left_out = Vec::new();
    for column in &target.columns {
        match source.columns.iter().find(|s| s.name == column.name) {
            Some(there) => compared.push(Compared {
                name: column.name.clone(),
                read: there.read.clone(),
                here: column.kind.clone(),
                there: there.kind.clone(),
                is_pinned: column.type_oid == there.type_oid && column.type_oid < FIRST_GENERATED_OID,
            }),
            None if column.generated => {}
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
        report::notice(&format!("columns that are not compared: {}", left_out.join(", ")));
    }
    Ok(compared)
}
