-- The old tool's view: every partition of every table partitioned by RANGE, with its bounds as bare text (quotes, dashes,
-- colons, spaces and casts gone, an open end empty). For people and old scripts; cgpsync itself compares typed values. Control characters,
-- which the source may have put into the bound of a partition that was created as it has it, are gone too.

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
    SELECT pg_catalog.regexp_match(CASE WHEN pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.=) 'UTF8'
                                        THEN pg_catalog.regexp_replace(pg_catalog.pg_get_expr(c.relpartbound, 0),
                                       '[\u0001-\u001F\u007F-\u009F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]', '', 'g')
                                        ELSE pg_catalog.pg_get_expr(c.relpartbound, 0) END,
                                   '^FOR VALUES FROM \((.*)\) TO \((.*)\)$') AS ends) b
WHERE p.partstrat OPERATOR(pg_catalog.=) 'r';
GRANT SELECT ON v_gp_range_partition_meta TO PUBLIC;

-- Runs that are on, those that the reading role may see in cgpsync_run. A view reads tables with its owner's rights, so the policy is
-- repeated here, behind a barrier that keeps functions of the reader's away from rows it may not see. Figures come from the run's shared memory, which costs its workers nothing.
CREATE VIEW cgpsync_progress WITH (security_barrier) AS
SELECT r.run_id, r.table_name, r.source, r.status,
       u.units_done, r.units AS units_total,
       live.rows, live.bytes AS bytes_done, u.estimated_bytes,
       pg_catalog.round(live.percent::pg_catalog.numeric, 1) AS percent,
       pg_catalog.round((live.bytes_per_second OPERATOR(pg_catalog./) 1e6)::pg_catalog.numeric, 1) AS mb_per_s_now,
       pg_catalog.round((live.bytes OPERATOR(pg_catalog./) NULLIF(pg_catalog.date_part('epoch',
           pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) u.began), 0::pg_catalog.float8) OPERATOR(pg_catalog./) 1e6)::pg_catalog.numeric, 1) AS mb_per_s,
       r.started_at,
       pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) r.started_at AS elapsed,
       pg_catalog.date_trunc('second', pg_catalog.clock_timestamp()
           OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => live.seconds_left)) AS eta,
       u.workers, u.copying,
       (SELECT pg_catalog.array_agg(pg_catalog.regexp_replace(a.query, '^run [0-9]+: ', '') ORDER BY a.pid) FROM pg_catalog.pg_stat_activity a
        WHERE (a.pid OPERATOR(pg_catalog.=) r.coordinator_pid OR a.pid OPERATOR(pg_catalog.=) ANY (u.pids))
          AND a.query OPERATOR(pg_catalog.~) '^run [0-9]+: .*: waiting for (server |a background worker slot)') AS waiting
FROM cgpsync_run r
LEFT JOIN LATERAL (SELECT * FROM _cgpsync_live(r.run_id) f WHERE f.unit IS NULL) live ON true
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) FILTER (WHERE p.status OPERATOR(pg_catalog.=) ANY ('{done,skipped}')) AS units_done,
           pg_catalog.sum(p.estimated_bytes) FILTER (WHERE p.status OPERATOR(pg_catalog.<>) 'skipped') AS estimated_bytes,
           pg_catalog.min(p.started_at) AS began,
           pg_catalog.count(*) FILTER (WHERE p.status OPERATOR(pg_catalog.=) 'copying') AS workers,
           pg_catalog.array_agg(p.worker_pid) FILTER (WHERE p.status OPERATOR(pg_catalog.=) 'copying') AS pids,
           pg_catalog.array_agg(pg_catalog.format('%s: %s of about %s (process %s)', pg_catalog.regexp_replace(
                                                      p.partition, '[\u0001-\u001F\u007F-\u009F\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]', ' ', 'g'), pg_catalog.pg_size_pretty(f.bytes),
                                                  COALESCE(pg_catalog.pg_size_pretty(p.estimated_bytes), '?'), p.worker_pid)
                                ORDER BY p.unit) FILTER (WHERE p.status OPERATOR(pg_catalog.=) 'copying' AND f.bytes IS NOT NULL) AS copying
    FROM cgpsync_run_partition p
    LEFT JOIN _cgpsync_live(r.run_id) f ON f.unit OPERATOR(pg_catalog.=) p.unit
    WHERE p.run_id OPERATOR(pg_catalog.=) r.run_id) u
WHERE (r.status OPERATOR(pg_catalog.=) 'planning'
       -- A run that ends while this looks at it has no figures any more.
       OR (r.status OPERATOR(pg_catalog.=) 'running' AND live.rows IS NOT NULL))
  AND (r.role_name OPERATOR(pg_catalog.=) CURRENT_USER OR pg_catalog.pg_has_role(CURRENT_USER, 'pg_monitor', 'USAGE')
       OR NOT pg_catalog.row_security_active('cgpsync_run'::pg_catalog.regclass))
  AND EXISTS (
    SELECT FROM pg_catalog.pg_locks l
    WHERE l.locktype OPERATOR(pg_catalog.=) 'userlock' AND l.mode OPERATOR(pg_catalog.=) 'ExclusiveLock'
      AND l.granted AND l.pid OPERATOR(pg_catalog.=) r.coordinator_pid
      AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
                                            WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
      AND l.classid OPERATOR(pg_catalog.=) 1667723379::pg_catalog.oid AND l.objid OPERATOR(pg_catalog.=) r.relation
      AND l.objsubid OPERATOR(pg_catalog.=) 2)
UNION ALL
-- Calls whose runs have not begun: their locks say what they are for.
SELECT NULL, CASE WHEN n.nspname OPERATOR(pg_catalog.=) 'public' THEN '' ELSE pg_catalog.quote_ident(n.nspname) OPERATOR(pg_catalog.||) '.' END
             OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname) COLLATE pg_catalog."default", NULL, 'waiting',
       NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL,
       ARRAY[pg_catalog.format('process %s: waiting for two background worker slots', l.pid)]
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) l.pid
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.objid
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE l.locktype OPERATOR(pg_catalog.=) 'userlock' AND l.mode OPERATOR(pg_catalog.=) 'ShareLock'
  AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
                                        WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
  AND l.classid OPERATOR(pg_catalog.=) 1667723379::pg_catalog.oid AND l.objsubid OPERATOR(pg_catalog.=) 3
  AND (a.usename OPERATOR(pg_catalog.=) CURRENT_USER OR pg_catalog.pg_has_role(CURRENT_USER, 'pg_monitor', 'USAGE')
       OR NOT pg_catalog.row_security_active('cgpsync_run'::pg_catalog.regclass));
GRANT SELECT ON cgpsync_progress TO PUBLIC;
