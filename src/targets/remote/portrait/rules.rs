//! What Greenplum 6 is asked about a unit, in SQL of 9.4: a partition is an ordinary table that inherits, and pg_partition_rule says the rest.

use crate::catalog::greenplum::bound_of_rule;

/// The unit, c, whose schema and name are parameters, with the tables above it, from the nearest: each mention of a query would be planned and run by itself.
pub const UNIT: &str = "WITH RECURSIVE u AS (
       SELECT r.oid AS id FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace WHERE n.nspname = $1 AND r.relname = $2),
     above(id, n) AS (
       SELECT i.inhparent, 1 FROM u JOIN pg_inherits i ON i.inhrelid = u.id JOIN pg_partition_rule r ON r.parchildrelid = u.id
       UNION ALL SELECT i.inhparent, a.n + 1 FROM above a JOIN pg_inherits i ON i.inhrelid = a.id),
     c AS (
       SELECT r.*, r.oid AS id, n.oid AS schema_id, n.nspname, ARRAY(SELECT a.id FROM above a ORDER BY a.n) AS above
       FROM u JOIN pg_class r ON r.oid = u.id JOIN pg_namespace n ON n.oid = r.relnamespace OFFSET 0)";

/// Name of p in schema n, quoted and qualified.
const NAME: &str = "'\"' || replace(n.nspname, '\"', '\"\"') || '\".\"' || replace(p.relname, '\"', '\"\"') || '\"'";

/// [`InTree`](crate::plan::exchange::InTree) of c, as JSON. `parent` is the topmost table: it is the one that each exchange locks.
pub fn place() -> String {
    let bound = bound_of_rule("r");
    // Siblings are numbered as FOR (RANK (n)) counts them.
    format!(
        "json_build_object(
           'oid', CAST(c.id AS bigint),
           'parent', CAST(c.above[array_upper(c.above, 1)] AS bigint),
           'parents', (SELECT COALESCE(json_agg({NAME} ORDER BY a.n), '[]')
                       FROM generate_series(1, array_upper(c.above, 1)) AS a(n) JOIN pg_class p ON p.oid = c.above[a.n]
                       JOIN pg_namespace n ON n.oid = p.relnamespace),
           'readable', CAST('[]' AS json),
           'bound', (SELECT {bound} FROM pg_partition_rule r WHERE r.parchildrelid = c.id),
           'bounds', (SELECT COALESCE(json_agg({bound} ORDER BY a.n), '[]')
                      FROM generate_series(1, array_upper(c.above, 1)) AS a(n) JOIN pg_partition_rule r ON r.parchildrelid = c.above[a.n]),
           'condition', CAST(NULL AS text),
           'default', CAST(NULL AS text),
           'steps', (SELECT COALESCE(json_agg(json_build_object(
                       'name', r.parname,
                       'is_default', r.parisdefault,
                       'rank', CASE WHEN q.parkind = 'r' AND NOT r.parisdefault THEN
                                 (SELECT count(*) FROM pg_partition_rule s WHERE s.paroid = r.paroid AND s.parparentrule = r.parparentrule
                                    AND NOT s.parisdefault AND s.parruleord <= r.parruleord) END,
                       'values', pg_get_expr(r.parlistvalues, 0)) ORDER BY q.parlevel), '[]')
                     FROM pg_partition_rule r JOIN pg_partition q ON q.oid = r.paroid
                     WHERE r.parchildrelid = ANY (c.id || c.above)))"
    )
}

/// [`Facts`](crate::plan::exchange::Facts) of c, as JSON. What depends internally on it goes with it: files of its own, its row type. EXISTS among other
/// conditions would be planned twice.
pub const FACTS: &str = "json_build_object(
    'method', CASE c.relstorage WHEN 'h' THEN 'heap' WHEN 'a' THEN 'ao_row' WHEN 'c' THEN 'ao_column' ELSE CAST(c.relstorage AS text) END,
    'role', $3,
    'is_owner', pg_has_role(c.relowner, 'USAGE')
                AND COALESCE((SELECT bool_and(pg_has_role(p.relowner, 'USAGE')) FROM pg_class p WHERE p.oid = ANY (c.above)), true),
    'may_create', has_schema_privilege(c.schema_id, 'CREATE'),
    'may_write', has_table_privilege(c.id, 'INSERT') AND has_table_privilege(c.id, 'TRUNCATE'),
    'has_policies', false,
    'has_row_security', false,
    'has_foreign_keys', (SELECT count(*) FROM pg_constraint k WHERE k.conrelid = c.id AND k.contype = 'f') > 0,
    'is_heir', c.above = '{}' AND (SELECT count(*) FROM pg_inherits i WHERE i.inhrelid = c.id) > 0,
    'is_bound_otherwise', c.reloftype <> 0 OR c.relhasoids
      OR (SELECT count(*) FROM pg_seclabel s WHERE s.classoid = CAST('pg_class' AS regclass) AND s.objoid = c.id) > 0
      OR (SELECT count(*) FROM pg_depend d WHERE d.classid = CAST('pg_class' AS regclass) AND d.objid = c.id AND d.deptype = 'e') > 0,
    'is_published', false,
    'lacks_index', false,
    'dependent', (
      SELECT min(COALESCE((SELECT pg_describe_object(CAST('pg_class' AS regclass), w.ev_class, 0) FROM pg_rewrite w
                           WHERE w.oid = d.objid AND d.classid = CAST('pg_rewrite' AS regclass) AND w.ev_class <> c.id),
                          pg_describe_object(d.classid, d.objid, d.objsubid))) FROM pg_depend d
      WHERE ((d.refclassid = CAST('pg_class' AS regclass) AND d.refobjid = c.id)
             OR (d.refclassid = CAST('pg_type' AS regclass) AND d.refobjid = ANY (c.reltype || ARRAY(SELECT t.typarray FROM pg_type t WHERE t.oid = c.reltype))))
        AND d.deptype <> 'i'
        AND CASE d.classid
              WHEN CAST('pg_class' AS regclass) THEN (SELECT count(*) FROM pg_index i WHERE i.indexrelid = d.objid AND i.indrelid = c.id) = 0
              WHEN CAST('pg_constraint' AS regclass) THEN (SELECT count(*) FROM pg_constraint k WHERE k.oid = d.objid AND k.conrelid = c.id) = 0
              WHEN CAST('pg_attrdef' AS regclass) THEN (SELECT count(*) FROM pg_attrdef f WHERE f.oid = d.objid AND f.adrelid = c.id) = 0
              ELSE true END))";

/// The question for a text that is another one when what [`place`], [`FACTS`] and the shape tell of the table with an OID may be. It is asked with the table
/// locked, where all of that would take longer by far: which rows of the catalogs there are of it, and which partitions beside it and above.
pub fn stamp() -> String {
    let rows = |catalog: &str, column: &str| {
        format!("SELECT '{catalog} ' || t.xmin || ' ' || t.ctid AS v FROM {catalog} t WHERE t.{column} = $1")
    };
    let catalogs = [
        ("pg_class", "oid"),
        ("pg_attribute", "attrelid"),
        ("pg_attrdef", "adrelid"),
        ("pg_index", "indrelid"),
        ("pg_constraint", "conrelid"),
        ("pg_description", "objoid"),
        ("pg_depend", "refobjid"),
        ("pg_inherits", "inhrelid"),
        ("pg_attribute_encoding", "attrelid"),
        ("gp_distribution_policy", "localoid"),
    ];
    let rows: Vec<String> = catalogs.iter().map(|(catalog, column)| rows(catalog, column)).collect();
    format!(
        "(oid) AS SELECT md5(string_agg(s.v, ' ' ORDER BY s.v)) FROM (
           {}
           UNION ALL SELECT 'partitions ' || count(*) || ' ' || sum(CAST(hashtext(r.oid || ' ' || r.parname || ' ' || r.parruleord) AS bigint))
           FROM pg_partition_rule r JOIN pg_partition q ON q.oid = r.paroid
           WHERE q.parrelid = (SELECT o.parrelid FROM pg_partition o JOIN pg_partition_rule own ON own.paroid = o.oid WHERE own.parchildrelid = $1)) s",
        rows.join(" UNION ALL ")
    )
}
