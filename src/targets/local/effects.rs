//! What loading rows into a unit sets off: code that may look into the unit, or that may not run in several processes at once. Where it cannot be
//! told, the answer is the safe one.

use super::{Local, facts};
use crate::catalog::defaults;
use crate::error::{Error, Result};
use crate::plan::types::FIRST_NORMAL_OID;
use crate::row::Row;
use crate::targets::loading::What;

/// For unit $1, copied columns $2 and table $3: types of columns with what they are made of, and expressions that are evaluated for each
/// row. An expression is the server's own tree of it, as text, which names every function by its OID: what pg_depend leaves out, such as functions that
/// the server was delivered with, is there. Types and names in it are numbers, so nothing in it can be mistaken.
pub(super) const SET_OFF: &str = "
    WITH RECURSIVE kind(oid) AS (
      SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
      UNION SELECT part.oid FROM kind JOIN pg_type t ON t.oid = kind.oid CROSS JOIN LATERAL (
        SELECT t.typbasetype UNION ALL SELECT t.typelem
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                  WHERE a.attrelid = t.typrelid AND t.typrelid <> 0 AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
        UNION ALL SELECT r.rngtypid FROM pg_range r WHERE to_jsonb(r) ->> 'rngmultitypid' = t.oid::text) AS part(oid)
      WHERE part.oid <> 0),
    expression(what, tree) AS (
      SELECT 'constraint ' || quote_ident(conname), conbin::text FROM pg_constraint WHERE conrelid = $1::oid AND contype = 'c'
      UNION ALL SELECT 'constraint ' || quote_ident(c.conname) || ' of domain ' || kind.oid::regtype, c.conbin::text
                FROM kind JOIN pg_constraint c ON c.contypid = kind.oid WHERE c.contype = 'c'
      UNION ALL SELECT CASE a.attgenerated WHEN '' THEN 'the default of column ' ELSE 'generated column ' END || quote_ident(a.attname), d.adbin::text
                FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
                WHERE d.adrelid IN ($1::oid, $3::oid) AND (a.attgenerated <> '' OR NOT to_jsonb(a.attname::text) <@ $2::jsonb)
      UNION ALL SELECT 'the partition key of ' || p.partrelid::regclass, p.partexprs::text FROM pg_partitioned_table p
                WHERE p.partrelid IN (SELECT relid FROM pg_partition_ancestors($1::oid::regclass)) AND p.partexprs IS NOT NULL),
    function(oid) AS (
      SELECT m[1]::oid FROM expression, regexp_matches(tree, ':(?:funcid|opfuncid) (\\d+)', 'g') AS m)";

/// Parts of expressions that do nothing but what the functions do that they name. `ARRAY` and the like are the names before 16.
const PLAIN_PARTS: &str = "FUNCEXPR OPEXPR VAR CONST BOOLEXPR NULLTEST BOOLEANTEST SCALARARRAYOPEXPR ARRAY ARRAYEXPR CASE CASEEXPR WHEN \
     CASEWHEN CASETESTEXPR COALESCE COALESCEEXPR RELABELTYPE DISTINCTEXPR NULLIFEXPR COLLATE COLLATEEXPR COERCETODOMAINVALUE";

/// Whether code that runs for the rows may look for others of the unit, which needs its indexes while it is loaded: a trigger, a foreign key to the
/// unit or to what is above it, or a function of somebody's own that need not give the same for the same arguments.
/// What a partition has of its parent's triggers is internal before 15, as those of constraints are.
pub fn looks_back(local: &Local, what: &What<'_>, unit: u32) -> Result<bool> {
    let sql = format!(
        "{SET_OFF}
         SELECT EXISTS (SELECT FROM pg_trigger t
                        WHERE t.tgrelid = $1::oid AND t.tgtype & 4 <> 0 AND t.tgenabled <> 'D'
                          AND (NOT t.tgisinternal OR t.tgconstraint = 0))
             OR EXISTS (SELECT FROM pg_constraint c
                        WHERE c.conrelid = $1::oid AND c.contype = 'f'
                          AND c.confrelid IN (SELECT relid FROM pg_partition_ancestors($1::oid::regclass) UNION SELECT $1::oid))
             OR EXISTS (SELECT FROM function f JOIN pg_proc p ON p.oid = f.oid
                        WHERE p.oid >= {FIRST_NORMAL_OID} AND p.provolatile <> 'i')"
    );
    is_true(local, what, unit, &sql)
}

/// Whether processes that share a transaction may load the unit: nothing that its rows set off may write, or be confined to one process, and
/// all of them have to log what they change.
pub fn can_be_shared(local: &Local, what: &What<'_>, unit: u32) -> Result<bool> {
    if what.leaves_out && !defaults::of_unit(&mut local.database(), local.table, unit, what.columns)?.is_empty() {
        return Ok(false);
    }
    let sql = format!(
        "{SET_OFF}
         SELECT current_setting('wal_level') <> 'minimal'
            AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = $1::oid AND t.tgtype & 4 <> 0 AND t.tgenabled <> 'D')
            AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped
                            AND (a.atthasdef OR a.attidentity <> '') AND a.attgenerated = ''
                            AND NOT to_jsonb(a.attname::text) <@ $2::jsonb)
            AND NOT EXISTS (SELECT FROM function f LEFT JOIN pg_proc p ON p.oid = f.oid WHERE p.proparallel IS DISTINCT FROM 's')
            AND NOT EXISTS (SELECT FROM expression, regexp_matches(tree, '\\{{([A-Z_]+)', 'g') AS m
                            WHERE m[1] <> ALL (string_to_array('{PLAIN_PARTS}', ' ')))
            AND NOT EXISTS (SELECT FROM kind JOIN pg_type t ON t.oid = kind.oid LEFT JOIN pg_range r ON r.rngtypid = t.oid
                            JOIN pg_proc p ON p.oid IN (t.typinput, t.typreceive, r.rngcanonical) WHERE p.proparallel <> 's')
            AND NOT EXISTS (SELECT FROM pg_partitioned_table p, unnest(p.partclass) AS c(oid)
                            WHERE p.partrelid IN (SELECT relid FROM pg_partition_ancestors($1::oid::regclass))
                              AND c.oid >= {FIRST_NORMAL_OID})"
    );
    Ok(is_true(local, what, unit, &sql)? && !looks_back(local, what, unit)?)
}

fn is_true(local: &Local, what: &What<'_>, unit: u32, sql: &str) -> Result<bool> {
    Ok(ask(local, what, unit, sql)?.first().is_some_and(|row| row.is(0)))
}

/// The answer to `sql`, which begins with [`SET_OFF`].
pub(super) fn ask(local: &Local, what: &What<'_>, unit: u32, sql: &str) -> Result<Vec<Row>> {
    let columns = serde_json::to_string(what.columns).map_err(|e| Error::internal(e.to_string()))?;
    let arguments = [unit.to_string(), columns, local.table.to_string()];
    facts::ask(sql, &arguments.each_ref().map(|text| Some(text.as_str())))
}
