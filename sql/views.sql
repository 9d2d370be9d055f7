-- The old tool's view: every partition of every table partitioned by RANGE, with its bounds as bare text (quotes, dashes,
-- colons, spaces and casts gone, an open end empty). For people and old scripts; cgpsync itself compares typed values.

CREATE VIEW v_gp_range_partition_meta AS
SELECT p.partrelid::pg_catalog.regclass AS table_name,
       c.oid::pg_catalog.regclass AS child_tbl_name,
       c.relname AS partition_name,
       child.position AS partitionposition,
       CASE WHEN b.ends[1] OPERATOR(pg_catalog.=) 'MINVALUE' THEN ''
            ELSE pg_catalog.translate(b.ends[1], $$'-: $$, '') END AS partitionrangestart,
       CASE WHEN b.ends[2] OPERATOR(pg_catalog.=) 'MAXVALUE' THEN ''
            ELSE pg_catalog.translate(b.ends[2], $$'-: $$, '') END AS partitionrangeend,
       a.atttypid::pg_catalog.regtype AS rangetype
FROM pg_catalog.pg_partitioned_table p
CROSS JOIN LATERAL ROWS FROM (_cgpsync_children(p.partrelid)) WITH ORDINALITY AS child(oid, position)
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) child.oid
LEFT JOIN pg_catalog.pg_attribute a
       ON a.attrelid OPERATOR(pg_catalog.=) p.partrelid AND a.attnum OPERATOR(pg_catalog.=) p.partattrs[0]
CROSS JOIN LATERAL (
    SELECT pg_catalog.regexp_match(pg_catalog.pg_get_expr(c.relpartbound, 0),
                                   '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS ends) b
WHERE p.partstrat OPERATOR(pg_catalog.=) 'r';
GRANT SELECT ON v_gp_range_partition_meta TO PUBLIC;
