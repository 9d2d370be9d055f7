//! What a table is, but for its rows, its OIDs and the numbers of its files.

use super::Greenplum;

/// Leaves of the story's tables, and tables without partitions.
const LEAVES: &str = "c.relkind = 'r' AND n.nspname = current_schema() AND NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhparent = c.oid)";

/// One leaf: its own lines, its columns, constraints and indexes.
const PORTRAIT: &str = "
    SELECT concat_ws(E'\\n',
      concat_ws(' ', c.relname, pg_get_userbyid(c.relowner), (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(c.relacl) a),
                c.reloptions, {storage}, t.spcname, pg_get_table_distributedby(c.oid), obj_description(c.oid, 'pg_class'),
                (SELECT string_agg('of ' || h.inhparent::regclass, ' ') FROM pg_inherits h WHERE h.inhrelid = c.oid)),
      (SELECT string_agg(concat_ws(' ', attname, format_type(atttypid, atttypmod), attnotnull, attstorage, attstattarget, a.attacl,
                                   col_description(attrelid, attnum), {default}, e.attoptions), E'\\n' ORDER BY attname)
       FROM pg_attribute a LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
       LEFT JOIN (SELECT attrelid AS relation, attnum AS number, attoptions FROM pg_attribute_encoding) e ON relation = attrelid AND number = attnum
       WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped),
      (SELECT string_agg(concat_ws(' ', conname, contype, pg_get_constraintdef(oid), obj_description(oid, 'pg_constraint')), E'\\n' ORDER BY conname)
       FROM pg_constraint WHERE conrelid = c.oid AND {constraints}),
      (SELECT string_agg(concat_ws(' ', pg_get_indexdef(indexrelid), indisclustered, indisvalid, s.spcname, obj_description(indexrelid, 'pg_class')), E'\\n' ORDER BY r.relname)
       FROM pg_index JOIN pg_class r ON r.oid = indexrelid LEFT JOIN pg_tablespace s ON s.oid = r.reltablespace WHERE indrelid = c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_tablespace t ON t.oid = c.reltablespace";

impl Greenplum {
    /// All leaves of the story's tables, and how its tables are partitioned.
    pub fn portrait(&self) -> String {
        let mut client = self.connect();
        let (storage, default, partitioning) = if self.version == 6 {
            ("c.relstorage", "adsrc", "SELECT pg_get_partition_def(c.oid, true)")
        } else {
            (
                "(SELECT amname FROM pg_am m WHERE m.oid = c.relam)",
                "pg_get_expr(adbin, adrelid)",
                "SELECT pg_get_partkeydef(c.oid) || (SELECT string_agg(pg_get_expr(l.relpartbound, l.oid), ' ' ORDER BY l.relname)
                                                     FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid)",
            )
        };
        let leaves = portrait(storage, default, "true");
        let roots = format!(
            "{partitioning} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhrelid = c.oid)
               AND EXISTS (SELECT 1 FROM pg_inherits h WHERE h.inhparent = c.oid) ORDER BY c.relname"
        );
        let mut lines = Vec::new();
        for sql in [format!("{leaves} WHERE {LEAVES} ORDER BY c.relname"), roots] {
            let rows = client
                .query(&sql, &[])
                .unwrap_or_else(|error| panic!("{error:?} in: {sql}"));
            lines.extend(
                rows.iter()
                    .map(|row| row.get::<_, Option<String>>(0).unwrap_or_default()),
            );
        }
        lines.join("\n")
    }

    /// All leaves, but for what their bounds are: the same range may be written in several ways.
    pub fn leaves_but_for_bounds(&self) -> String {
        let (storage, default) = if self.version == 6 {
            ("c.relstorage", "adsrc")
        } else {
            (
                "(SELECT amname FROM pg_am m WHERE m.oid = c.relam)",
                "pg_get_expr(adbin, adrelid)",
            )
        };
        let leaves = portrait(storage, default, "contype <> 'c'");
        self.text(&format!(
            "SELECT string_agg(l.p, E'\\n') FROM ({leaves} WHERE {LEAVES} ORDER BY c.relname) l(p)"
        ))
    }

    /// The names of the leaves.
    pub fn leaves(&self) -> String {
        self.text(&format!(
            "SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {LEAVES}"
        ))
    }

    /// The OID of a relation of the story's.
    pub fn oid(&self, relation: &str) -> String {
        self.text(&format!("SELECT '{relation}'::regclass::oid"))
    }
}

fn portrait(storage: &str, default: &str, constraints: &str) -> String {
    PORTRAIT
        .replace("{storage}", storage)
        .replace("{default}", default)
        .replace("{constraints}", constraints)
}
