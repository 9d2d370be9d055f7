//! One question for all that the replacing of a unit rests on, to PostgreSQL 10 and later and what is made of it; `rules` has what Greenplum 6 is
//! asked instead. It leaves no lock: what printing a partition's condition locks is let go with the savepoint around it. A session asks it for each of its
//! units, and for what it makes for them, so it is planned once: on a 9.4 that takes longer by far than the answer.

mod rules;

use crate::catalog::Database;
use crate::catalog::server::Server;
use crate::error::{Error, Result, sqlstate, tame};
use crate::plan::copy_sql::{quote_literal, quote_qualified, split_name};
use crate::plan::exchange::Described;
use crate::plan::tables::Unit;
use crate::row::Row;
use crate::wire::Session;

/// The unit, c, whose schema and name are parameters; the tables above it; its row type with the array of it.
const UNIT: &str = "WITH RECURSIVE c AS (
       SELECT r.*, r.oid AS id, n.oid AS schema_id, n.nspname
       FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace WHERE n.nspname = $1 AND r.relname = $2),
     above(id, n) AS (
       SELECT i.inhparent, 1 FROM c JOIN pg_inherits i ON i.inhrelid = c.id
       WHERE c.relispartition AND NOT COALESCE(CAST(to_jsonb(i) ->> 'inhdetachpending' AS boolean), false)
       UNION ALL SELECT i.inhparent, a.n + 1 FROM above a JOIN pg_class p ON p.oid = a.id AND p.relispartition
         JOIN pg_inherits i ON i.inhrelid = a.id),
     types AS (
       SELECT t.oid AS id FROM c JOIN pg_type t ON t.oid = c.reltype
       UNION ALL SELECT t.typarray FROM c JOIN pg_type t ON t.oid = c.reltype)";

/// The names of a role and of what it was granted, of an ACL of c's owner.
fn grants(acl: &str) -> String {
    format!(
        "(SELECT COALESCE(json_agg(json_build_object('to', g.role, 'privilege', g.privilege_type, 'grantable', g.is_grantable,
                                                     'by_owner', g.grantor = c.relowner)
                                   ORDER BY g.role NULLS FIRST, g.privilege_type, g.grantor), '[]')
          FROM (SELECT x.*, CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END AS role FROM aclexplode({acl}) x) g)"
    )
}

/// [`Shape`](crate::plan::exchange::Shape) of c, as JSON. Of options of columns those that a statement can set: a server may keep marks of its own among them.
fn shape(server: &Server) -> String {
    let (of_table, of_column) = (
        grants("COALESCE(c.relacl, acldefault('r', c.relowner))"),
        grants("a.attacl"),
    );
    let [generated, not_null_name, compression, identity] = match server.is_classic() {
        true => ["''", "CAST(NULL AS text)", "CAST(NULL AS text)", "''"],
        false => [
            "COALESCE(to_jsonb(a) ->> 'attgenerated', '')",
            "(SELECT k.conname FROM pg_constraint k
              WHERE k.conrelid = c.id AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum])",
            "NULLIF(to_jsonb(a) ->> 'attcompression', '')",
            "a.attidentity",
        ],
    };
    // Where rows are spread over segments, and columns stored one by one.
    let (spread, encoding) = match server.is_greenplum() {
        true => (
            "(SELECT json_build_object('clause', pg_get_table_distributedby(c.id), 'segments', y.numsegments)
              FROM gp_distribution_policy y WHERE y.localoid = c.id)",
            "COALESCE((SELECT e.attoptions FROM pg_attribute_encoding e WHERE e.attrelid = c.id AND e.attnum = a.attnum), '{}')",
        ),
        false => ("CAST(NULL AS json)", "CAST('{}' AS text[])"),
    };
    format!(
        "json_build_object(
           'owner', pg_get_userbyid(c.relowner),
           'tablespace', (SELECT s.spcname FROM pg_tablespace s WHERE s.oid = c.reltablespace),
           'persistence', c.relpersistence,
           'options', COALESCE(c.reloptions, '{{}}'),
           'toast_options', COALESCE((SELECT t.reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid), '{{}}'),
           'replica_identity', c.relreplident,
           'comment', obj_description(c.id, 'pg_class'),
           'grants', {of_table},
           'spread', {spread},
           'columns', (
             SELECT COALESCE(json_agg(json_build_object(
               'name', a.attname,
               'type_sql', format_type(a.atttypid, a.atttypmod),
               'collation', (SELECT quote_ident(n.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l
                             JOIN pg_namespace n ON n.oid = l.collnamespace
                             WHERE l.oid = a.attcollation AND a.attcollation <> y.typcollation),
               'default', pg_get_expr(d.adbin, d.adrelid),
               'generated', {generated},
               'not_null', a.attnotnull,
               'not_null_name', {not_null_name},
               'storage', CASE WHEN a.attstorage <> y.typstorage THEN a.attstorage END,
               'compression', {compression},
               'encoding', {encoding},
               'comment', col_description(c.id, a.attnum),
               'typed', a.atttypid || ' ' || format_type(a.atttypid, a.atttypmod),
               'identity', {identity},
               'statistics', NULLIF(a.attstattarget, -1),
               'options', ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE o LIKE 'n_distinct%'),
               'grants', {of_column}) ORDER BY a.attnum), '[]')
             FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
             WHERE a.attrelid = c.id AND a.attnum > 0 AND NOT a.attisdropped),
           'checks', (
             SELECT COALESCE(json_agg(json_build_object('name', k.conname, 'definition', pg_get_constraintdef(k.oid),
                                                        'comment', obj_description(k.oid, 'pg_constraint')) ORDER BY k.conname), '[]')
             FROM pg_constraint k WHERE k.conrelid = c.id AND k.contype = 'c'))"
    )
}

/// [`InTree`](crate::plan::exchange::InTree) of c, as JSON. Condition and bounds are in `printed`.
const PLACE: &str = "json_build_object(
    'oid', CAST(c.id AS bigint),
    'parent', (SELECT CAST(a.id AS bigint) FROM above a WHERE a.n = 1),
    'parents', (SELECT COALESCE(json_agg('\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(p.relname, '\"', '\"\"') || '\"' ORDER BY a.n), '[]')
                FROM above a JOIN pg_class p ON p.oid = a.id JOIN pg_namespace n ON n.oid = p.relnamespace),
    'readable', (SELECT COALESCE(json_agg('\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(p.relname, '\"', '\"\"') || '\"' ORDER BY a.n DESC), '[]')
                 FROM above a JOIN pg_class p ON p.oid = a.id JOIN pg_namespace n ON n.oid = p.relnamespace
                 WHERE has_table_privilege(p.oid, 'SELECT')),
    'bound', pg_get_expr(c.relpartbound, c.id),
    'bounds', (SELECT COALESCE(json_agg(pg_get_expr(p.relpartbound, p.oid) ORDER BY a.n), '[]')
               FROM above a JOIN pg_class p ON p.oid = a.id WHERE p.relispartition),
    'condition', CASE WHEN c.relispartition THEN pg_get_partition_constraintdef(c.id) END,
    'default', (SELECT '\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(d.relname, '\"', '\"\"') || '\"'
                FROM above a JOIN pg_partitioned_table q ON q.partrelid = a.id
                JOIN pg_class d ON d.oid = CAST(to_jsonb(q) ->> 'partdefid' AS oid) JOIN pg_namespace n ON n.oid = d.relnamespace
                WHERE a.n = 1 AND d.oid <> c.id))";

/// [`Index`](crate::plan::exchange::Index)es of c, as JSON. What follows the name of the table is looked for where it must be.
const INDEXES: &str = "(
    SELECT COALESCE(json_agg(json_build_object(
      'name', x.relname,
      'constraint', pg_get_constraintdef(k.oid),
      'options', CASE WHEN k.contype IN ('p', 'u') THEN COALESCE(x.reloptions, '{}') ELSE '{}' END,
      'create', x.statement,
      'tail', CASE WHEN left(x.definition, length(x.head)) = x.head AND substr(x.definition, length(x.head) + 1) LIKE ' USING %'
                   THEN substr(x.definition, length(x.head) + 1) END,
      'tablespace', x.spcname,
      'is_clustered', x.indisclustered,
      'is_identity', x.indisreplident,
      'is_valid', x.indisvalid AND x.indisready,
      'is_plain', NOT EXISTS (SELECT 1 FROM pg_attribute a WHERE a.attrelid = x.indexrelid AND NULLIF(a.attstattarget, -1) IS NOT NULL)
                  AND (x.reltablespace = 0 OR has_tablespace_privilege(x.reltablespace, 'CREATE'))
                  -- The whole row, which it calls by the table's name.
                  AND position(quote_ident(c.relname) || '.*' IN x.definition) = 0,
      'comment', obj_description(x.indexrelid, 'pg_class'),
      'constraint_comment', obj_description(k.oid, 'pg_constraint'))
      -- An index of the table above takes the first that is like it.
      ORDER BY (SELECT h.inhparent FROM pg_inherits h WHERE h.inhrelid = x.indexrelid), x.relname), '[]')
    FROM (SELECT i.*, r.relname, r.reloptions, r.reltablespace, s.spcname, pg_get_indexdef(i.indexrelid) AS definition, y.statement,
                 y.statement || ' ' || quote_ident(r.relname) || ' ON ' || quote_ident(c.nspname) || '.' || quote_ident(c.relname) AS head
          FROM pg_index i JOIN pg_class r ON r.oid = i.indexrelid LEFT JOIN pg_tablespace s ON s.oid = r.reltablespace
          CROSS JOIN LATERAL (SELECT CASE WHEN i.indisunique THEN 'CREATE UNIQUE INDEX' ELSE 'CREATE INDEX' END AS statement) y
          WHERE i.indrelid = c.id) x
    LEFT JOIN pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = c.id AND k.contype IN ('p', 'u', 'x'))";

/// [`Facts`](crate::plan::exchange::Facts) of c, as JSON.
const FACTS: &str = "json_build_object(
    'method', COALESCE((SELECT m.amname FROM pg_am m WHERE m.oid = c.relam), 'heap'),
    'role', $3,
    'is_owner', pg_has_role(c.relowner, 'USAGE')
                AND COALESCE((SELECT pg_has_role(p.relowner, 'USAGE') FROM above a JOIN pg_class p ON p.oid = a.id WHERE a.n = 1), true),
    'may_create', has_schema_privilege(c.schema_id, 'CREATE'),
    'may_write', has_table_privilege(c.id, 'INSERT') AND has_table_privilege(c.id, 'TRUNCATE'),
    'has_policies', row_security_active(c.id),
    'has_row_security', c.relrowsecurity OR c.relforcerowsecurity,
    'has_foreign_keys', EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = c.id AND k.contype = 'f'),
    'is_heir', NOT c.relispartition AND EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.id),
    'is_bound_otherwise', c.reloftype <> 0 OR COALESCE(to_jsonb(c) ->> 'relhasoids', 'false') = 'true'
      OR EXISTS (SELECT 1 FROM pg_subscription_rel s WHERE s.srrelid = c.id)
      -- Of NOT NULL, which is a constraint since 18, a new table has the name only.
      OR EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = c.id AND k.contype = 'n'
                 AND (k.connoinherit OR NOT k.convalidated OR obj_description(k.oid, 'pg_constraint') IS NOT NULL))
      OR EXISTS (SELECT 1 FROM pg_seclabel s WHERE s.classoid = CAST('pg_class' AS regclass) AND s.objoid = c.id)
      OR EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = CAST('pg_class' AS regclass) AND d.objid = c.id AND d.deptype = 'e'),
    'is_published', EXISTS (
        SELECT 1 FROM pg_publication_tables u JOIN pg_namespace n ON n.nspname = u.schemaname
        JOIN pg_class r ON r.relnamespace = n.oid AND r.relname = u.tablename WHERE r.oid = c.id OR r.oid IN (SELECT id FROM above))
      OR EXISTS (SELECT 1 FROM pg_replication_slots s
                 WHERE s.slot_type = 'logical' AND s.database = current_database() AND s.plugin <> 'pgoutput'),
    'lacks_index', EXISTS (
        SELECT 1 FROM above a JOIN pg_index p ON p.indrelid = a.id
        WHERE a.n = 1 AND NOT EXISTS (SELECT 1 FROM pg_inherits h JOIN pg_index i ON i.indexrelid = h.inhrelid
                                      WHERE h.inhparent = p.indexrelid AND i.indrelid = c.id)),
    'dependent', (
      SELECT min(COALESCE((SELECT pg_describe_object(CAST('pg_class' AS regclass), w.ev_class, 0) FROM pg_rewrite w
                           WHERE w.oid = d.objid AND d.classid = CAST('pg_rewrite' AS regclass) AND w.ev_class <> c.id),
                          pg_describe_object(d.classid, d.objid, d.objsubid))) FROM pg_depend d
      WHERE ((d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = c.id)
             OR (d.refclassid = CAST('pg_type' AS regclass) AND d.refobjid IN (SELECT id FROM types)))
        AND NOT (d.classid = CAST('pg_class' AS regclass)
                 AND (d.objid IN (c.id, c.reltoastrelid)
                      OR EXISTS (SELECT 1 FROM pg_index i WHERE i.indexrelid = d.objid AND i.indrelid = c.id)
                      -- What Greenplum keeps of an append-optimized table.
                      OR EXISTS (SELECT 1 FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace WHERE o.oid = d.objid AND n.nspname = 'pg_aoseg')))
        AND NOT (d.classid = CAST('pg_type' AS regclass) AND d.objid IN (SELECT id FROM types))
        AND NOT (d.classid = CAST('pg_constraint' AS regclass)
                 AND EXISTS (SELECT 1 FROM pg_constraint k WHERE k.oid = d.objid AND k.conrelid = c.id))
        AND NOT (d.classid = CAST('pg_attrdef' AS regclass)
                 AND EXISTS (SELECT 1 FROM pg_attrdef f WHERE f.oid = d.objid AND f.adrelid = c.id))))";

/// A unit or a table that was made, quoted and qualified, as it is now. None where it is not there.
pub fn describe(session: &mut Session, table: &str) -> Result<Option<Described>> {
    let sql = describe_sql(session, table)?;
    let rows = session.query(&Session::question(&sql))?;
    read(session, rows.first())
}

/// The same of a unit with its [`stamp`] from before, if it still has its OID: what changes in between is another stamp later.
pub fn describe_stamped(session: &mut Session, unit: &Unit) -> Result<(Option<Described>, Option<String>)> {
    let oid = unit.oid()?;
    let Some(stamp) = stamp_sql(session, oid)? else {
        return Ok((describe(session, &unit.name)?, None));
    };
    let describe = describe_sql(session, &unit.name)?;
    let rows = session.query(&Session::question(&format!("{stamp}; {describe}")))?;
    let stamp = rows.first().and_then(|row| row.owned(0));
    let unit = read(session, rows.get(1))?;
    let stamp = stamp.filter(|_| unit.as_ref().is_some_and(|unit| unit.place.oid == oid));
    Ok((unit, stamp))
}

fn describe_sql(session: &mut Session, table: &str) -> Result<String> {
    let (schema, name) = parts(table)?;
    let describe = session.prepare("cgpsync_describe", statement)?;
    // An argument: Greenplum plans a statement anew each time that calls a stable function of constants.
    Ok(format!(
        "EXECUTE {describe}({}, {}, current_user)",
        quote_literal(&schema),
        quote_literal(&name)
    ))
}

fn read(session: &Session, row: Option<&Row>) -> Result<Option<Described>> {
    let Some(row) = row else { return Ok(None) };
    serde_json::from_str(&row.string(0)?).map(Some).map_err(|error| {
        let text = format!(
            "server \"{}\" describes a table otherwise than expected",
            session.name()
        );
        Error::protocol(text).detail(format!("{}.", tame(&error.to_string())))
    })
}

/// The question: schema, name, and who asks.
fn statement(server: &Server) -> String {
    let (unit, place, facts) = match server.is_classic() {
        true => (rules::UNIT, rules::place(), rules::FACTS),
        false => (UNIT, PLACE.to_owned(), FACTS),
    };
    format!(
        "(name, name, name) AS {unit} SELECT json_build_object('shape', {}, 'place', {place}, 'indexes', {INDEXES}, 'facts', {facts}) FROM c",
        shape(server)
    )
}

/// What tells more quickly than all of it whether a unit is as it was; None where nothing does.
pub fn stamp(session: &mut Session, oid: u32) -> Result<Option<String>> {
    let Some(sql) = stamp_sql(session, oid)? else {
        return Ok(None);
    };
    let rows = session.query(&sql)?;
    Ok(rows.first().and_then(|row| row.owned(0)))
}

fn stamp_sql(session: &mut Session, oid: u32) -> Result<Option<String>> {
    if !session.server().is_classic() {
        return Ok(None);
    }
    let stamp = session.prepare("cgpsync_stamp", |_| rules::stamp())?;
    Ok(Some(format!("EXECUTE {stamp}({oid})")))
}

/// Schema and name of a table, quoted and qualified.
pub fn parts(table: &str) -> Result<(String, String)> {
    match split_name(table) {
        Some((Some(schema), name)) => Ok((schema, name)),
        _ => Err(Error::internal(format!("{table} is no qualified name"))),
    }
}

/// The default partition of a table.
pub fn default_of(session: &mut Session, table: u32) -> Result<Option<String>> {
    let rows = session.query(&format!(
        "SELECT n.nspname, d.relname FROM pg_partitioned_table q JOIN pg_class d ON d.oid = CAST(to_jsonb(q) ->> 'partdefid' AS oid)
         JOIN pg_namespace n ON n.oid = d.relnamespace WHERE q.partrelid = {table}"
    ))?;
    rows.first()
        .map(|row| Ok(quote_qualified(&row.string(0)?, &row.string(1)?)))
        .transpose()
}

/// The error for a unit that is not there any more.
pub fn gone(unit: &str, server: &str) -> Error {
    Error::new(
        sqlstate::UNDEFINED_TABLE,
        format!("{unit} does not exist any more on server \"{server}\""),
    )
    .hint("Run the same call again; it plans with the partitions there are.")
}
