-- 0.1.0 to 0.2.0: partitions are replaced under their readers (argument replace). Grants and revokes on the three functions below have to be given
-- again: an argument cannot be added to a function that is there, and privileges that a script gives count as the extension's own.
\echo Use "ALTER EXTENSION cgpsync UPDATE TO '0.2.0'" to load this file. \quit

ALTER TABLE cgpsync_run_partition
    ADD COLUMN way text CHECK (way IN ('swap', 'truncate')),
    ADD COLUMN processes integer,
    ADD COLUMN cut jsonb;
COMMENT ON COLUMN cgpsync_run_partition.way IS 'how its rows were replaced: swap or truncate';
COMMENT ON COLUMN cgpsync_run_partition.processes IS 'how many processes loaded it';
COMMENT ON COLUMN cgpsync_run_partition.cut IS 'internal: how a slice of a table that is partitioned on the source can be read in pieces';

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_proc p
               WHERE p.proacl IS NOT NULL AND p.oid OPERATOR(pg_catalog.=) ANY (ARRAY[
                   'cgpsync_sync(regclass, text, int, name, text, text, bool, text[])'::pg_catalog.regprocedure::pg_catalog.oid,
                   'cgpsync_start(regclass, text, int, name, text, text, bool, text[])'::pg_catalog.regprocedure::pg_catalog.oid,
                   'cgpsync_plan(regclass, text, int, name, text, text, bool, text[])'::pg_catalog.regprocedure::pg_catalog.oid]))
    THEN
        RAISE WARNING 'everybody may call cgpsync_sync, cgpsync_start and cgpsync_plan again: repeat your GRANT and REVOKE statements for them';
    END IF;
END $$;

DROP FUNCTION cgpsync_sync(regclass, text, int, name, text, text, bool, text[]);
CREATE FUNCTION cgpsync_sync(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto')
RETURNS TABLE(partition regclass, status text, rows bigint, bytes bigint, seconds float8, message text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_sync_v2_wrapper';
COMMENT ON FUNCTION cgpsync_sync(regclass, text, int, name, text, text, bool, text[], text) IS
    'copies every partition of table_name up to end_tm that was not synced before from the source, with parallel workers that commit by themselves';

DROP FUNCTION cgpsync_start(regclass, text, int, name, text, text, bool, text[]);
CREATE FUNCTION cgpsync_start(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto')
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_start_v2_wrapper';
COMMENT ON FUNCTION cgpsync_start(regclass, text, int, name, text, text, bool, text[], text) IS
    'starts what cgpsync_sync does and gives the run''s number at once; the run goes on when the session ends';

DROP FUNCTION cgpsync_plan(regclass, text, int, name, text, text, bool, text[]);
CREATE FUNCTION cgpsync_plan(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto')
RETURNS TABLE(partition text, action text, source_relation text, source_filter text, range_start text, range_end text,
              estimated_bytes bigint, format text, snapshot text, reason text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_plan_v2_wrapper';
COMMENT ON FUNCTION cgpsync_plan(regclass, text, int, name, text, text, bool, text[], text) IS
    'what cgpsync_sync with the same arguments would do, partition by partition, and why; touches nothing';

-- A run that ends during the look is left out, rather than shown without figures.
CREATE OR REPLACE VIEW cgpsync_progress WITH (security_barrier) AS
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
       u.workers, u.copying
FROM cgpsync_run r
LEFT JOIN LATERAL (SELECT * FROM _cgpsync_live(r.run_id) f WHERE f.unit IS NULL) live ON true
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) FILTER (WHERE p.status OPERATOR(pg_catalog.=) ANY ('{done,skipped}')) AS units_done,
           pg_catalog.sum(p.estimated_bytes) FILTER (WHERE p.status OPERATOR(pg_catalog.<>) 'skipped') AS estimated_bytes,
           pg_catalog.min(p.started_at) AS began,
           pg_catalog.count(*) FILTER (WHERE p.status OPERATOR(pg_catalog.=) 'copying') AS workers,
           pg_catalog.array_agg(pg_catalog.format('%s: %s of about %s (process %s)', p.partition, pg_catalog.pg_size_pretty(f.bytes),
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
    WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted AND l.pid OPERATOR(pg_catalog.=) r.coordinator_pid
      AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d
                                            WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
      AND l.classid OPERATOR(pg_catalog.=) 1667723379::pg_catalog.oid AND l.objid OPERATOR(pg_catalog.=) r.relation::pg_catalog.oid
      AND l.objsubid OPERATOR(pg_catalog.=) 2);
