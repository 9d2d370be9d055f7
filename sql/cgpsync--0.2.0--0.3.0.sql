-- 0.2.0 to 0.3.0. Functions that get other arguments or results are dropped and made anew; who may
-- call them stays as it was. A view that calls one of them is in the way, and the error names it.
\echo Use "ALTER EXTENSION cgpsync UPDATE TO '0.3.0'" to load this file. \quit

-- The functions as they are; the last statement here gives owner and privileges to the new ones.
CREATE TEMP TABLE cgpsync_before AS
SELECT p.oid, p.proname, p.proowner, p.proacl
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_depend d ON d.objid OPERATOR(pg_catalog.=) p.oid
JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid
  AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid
  AND d.deptype OPERATOR(pg_catalog.=) 'e' AND e.extname OPERATOR(pg_catalog.=) 'cgpsync';

-- A column's type cannot change under a view that reads it: this one reads it again at the end of this script.
CREATE OR REPLACE VIEW cgpsync_progress WITH (security_barrier) AS
SELECT NULL::bigint AS run_id, NULL::text AS table_name, NULL::text AS source, NULL::text AS status,
       NULL::bigint AS units_done, NULL::integer AS units_total, NULL::bigint AS rows, NULL::bigint AS bytes_done,
       NULL::numeric AS estimated_bytes, NULL::numeric AS percent, NULL::numeric AS mb_per_s_now, NULL::numeric AS mb_per_s,
       NULL::timestamptz AS started_at, NULL::interval AS elapsed, NULL::timestamptz AS eta,
       NULL::bigint AS workers, NULL::text[] AS copying;
ALTER TABLE cgpsync_run
    ALTER COLUMN relation DROP NOT NULL,
    ALTER COLUMN relation TYPE oid USING relation::oid,
    ADD COLUMN source_system text,
    ADD COLUMN source_database text,
    ADD COLUMN remembered text,
    ADD COLUMN point text,
    ADD COLUMN source_server text,
    ADD COLUMN source_peer text,
    ADD COLUMN column_types text[],
    ADD COLUMN target_session jsonb,
    ADD COLUMN source_known jsonb,
    ADD COLUMN home text;
UPDATE cgpsync_run SET home = (SELECT system_identifier FROM pg_catalog.pg_control_system()) OPERATOR(pg_catalog.||) '/'
    OPERATOR(pg_catalog.||) (SELECT oid FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) pg_catalog.current_database());
ALTER TABLE cgpsync_run_partition
    ALTER COLUMN source_relation DROP NOT NULL,
    ALTER COLUMN relation DROP NOT NULL,
    ALTER COLUMN relation TYPE oid USING relation::oid,
    DROP CONSTRAINT cgpsync_run_partition_way_check,
    ADD CONSTRAINT cgpsync_run_partition_way_check CHECK (way IN ('swap', 'exchange', 'truncate', 'swap, pages', 'truncate, pages')),
    ADD COLUMN file_number oid,
    ADD COLUMN server_start timestamptz,
    ADD COLUMN source_parts boolean NOT NULL DEFAULT false,
    ADD COLUMN source_state text,
    ADD COLUMN vanished_filter text,
    ADD COLUMN bound text,
    ADD COLUMN source_exact bytea,
    ADD COLUMN target_relation text,
    ADD COLUMN target_oid oid;
CREATE INDEX cgpsync_run_partition_target_relation_idx ON cgpsync_run_partition (target_relation, run_id) WHERE target_relation IS NOT NULL;
COMMENT ON COLUMN cgpsync_run_partition.source_relation IS
    'relation read on the source; null where nothing is read';
COMMENT ON COLUMN cgpsync_run.source_system IS
    'system identifier of the server read; where it tells none, "table" and the OID of the source table';
COMMENT ON COLUMN cgpsync_run.source_database IS 'database read';
COMMENT ON COLUMN cgpsync_run.source_server IS
    'the one server that all sessions of the run must reach: where it listens, and since when; null if it does not tell';
COMMENT ON COLUMN cgpsync_run.column_types IS 'internal: the types of these columns here when planned: OID and name';
COMMENT ON COLUMN cgpsync_run.source_peer IS
    'network address that was reached first, and that the other sessions are opened to; null for a Unix socket';
COMMENT ON COLUMN cgpsync_run.remembered IS
    'end_tm that this run left in sync_table; null if it left that alone';
COMMENT ON COLUMN cgpsync_run.target_session IS
    'internal: of a table on another server, the session there that holds the run''s lock';
COMMENT ON COLUMN cgpsync_run.source_known IS 'internal: what the run''s first session has learned of the source''s server';
COMMENT ON COLUMN cgpsync_run.relation IS
    'OID of the target table; after a restore into another database, of the table of that name there';
COMMENT ON COLUMN cgpsync_run.home IS 'internal: the database that OIDs of this run are of';
COMMENT ON COLUMN cgpsync_run_partition.relation IS
    'OID of the partition, if it is of this database';
COMMENT ON COLUMN cgpsync_run_partition.target_relation IS
    'a partition on another server, quoted and qualified; null for one of this database';
COMMENT ON COLUMN cgpsync_run_partition.target_oid IS 'its OID over there, which an exchange changes';
COMMENT ON COLUMN cgpsync_run_partition.way IS
    'swap, exchange or truncate: how its rows were replaced; behind it pages, where these were not written by COPY';
COMMENT ON COLUMN cgpsync_run.end_tm IS 'point up to which the table was to be synced, as a value of the key';
COMMENT ON COLUMN cgpsync_run.point IS
    'end_tm, or the source''s present if that was earlier: what is remembered if every unit is done';
COMMENT ON COLUMN cgpsync_run_partition.file_number IS
    'number of the file that the run left the partition in';
COMMENT ON COLUMN cgpsync_run_partition.server_start IS 'when this server had been started then';
COMMENT ON COLUMN cgpsync_run_partition.source_parts IS 'the source relation is partitioned';
COMMENT ON COLUMN cgpsync_run_partition.source_state IS
    'internal: what the source relation was when planned, where each partition is read in a snapshot of its own';
COMMENT ON COLUMN cgpsync_run_partition.vanished_filter IS
    'internal: condition on rows here whose range the source no longer has a partition for: the partition is not replaced while it holds any';
COMMENT ON COLUMN cgpsync_run_partition.bound IS
    'internal: bounds of the partition and of those above it when planned';
COMMENT ON COLUMN cgpsync_run_partition.source_exact IS
    'internal: source_relation and source_filter as they are, as JSON in UTF8, where those are shown without control characters';

DROP FUNCTION cgpsync_sync(regclass, text, int, name, text, text, bool, text[], text);
CREATE FUNCTION cgpsync_sync(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
RETURNS TABLE(partition text, status text, rows bigint, bytes bigint, seconds float8, message text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_sync_v3_wrapper';
COMMENT ON FUNCTION cgpsync_sync(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'copies every partition of table_name up to end_tm that was not synced before from the source, with parallel workers that commit by themselves';

CREATE PROCEDURE cgpsync(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', 'cgpsync_call_wrapper';
COMMENT ON PROCEDURE cgpsync(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'the same as a procedure, which holds neither snapshot nor lock while it waits; what it has done is in cgpsync_run';

DROP FUNCTION cgpsync_start(regclass, text, int, name, text, text, bool, text[], text);
CREATE FUNCTION cgpsync_start(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_start_v3_wrapper';
COMMENT ON FUNCTION cgpsync_start(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'starts what cgpsync_sync does and gives the run''s number at once; the run goes on when the session ends';

DROP FUNCTION cgpsync_plan(regclass, text, int, name, text, text, bool, text[], text);
CREATE FUNCTION cgpsync_plan(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
RETURNS TABLE(partition text, action text, source_relation text, source_filter text, range_start text, range_end text,
              estimated_bytes bigint, format text, snapshot text, reason text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_plan_v3_wrapper';
COMMENT ON FUNCTION cgpsync_plan(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'what cgpsync_sync with the same arguments would do, partition by partition, and why; touches nothing';

DROP FUNCTION cgpsync_wait(bigint, interval);
CREATE FUNCTION cgpsync_wait(run_id bigint, timeout interval DEFAULT NULL)
RETURNS TABLE(partition text, status text, rows bigint, bytes bigint, seconds float8, message text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_wait_v2_wrapper';
COMMENT ON FUNCTION cgpsync_wait(bigint, interval) IS
    'waits for a run to end and gives what cgpsync_sync would, its error included';

DROP FUNCTION cgpsync_verify(regclass, text, text, name, text, text, int);
CREATE FUNCTION cgpsync_verify(
    table_name regclass,
    end_tm text DEFAULT NULL,
    since text DEFAULT NULL,
    source name DEFAULT NULL,
    source_table text DEFAULT NULL,
    method text DEFAULT 'count',
    parallelism int DEFAULT 3)
RETURNS TABLE(partition text, matches boolean, source_rows bigint, target_rows bigint, source_checksum numeric,
              target_checksum numeric, source_relation text, source_filter text, error text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 3 SET bytea_output = 'hex' SET TimeZone = 'UTC' SET row_security = off SET jit = off
SET standard_conforming_strings = on SET quote_all_identifiers = off SET array_nulls = on
AS 'MODULE_PATHNAME', 'cgpsync_verify_v2_wrapper';
COMMENT ON FUNCTION cgpsync_verify(regclass, text, text, name, text, text, int) IS
    'compares partitions with the source by number of rows or by a checksum of their contents; changes nothing';

CREATE FUNCTION cgpsync_attach(target_table text, server name, local_table text DEFAULT NULL) RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS 'MODULE_PATHNAME', 'cgpsync_attach_wrapper';
COMMENT ON FUNCTION cgpsync_attach(text, name, text) IS
    'creates a foreign table here that stands for a table on another server, which a sync then writes';
DROP FUNCTION cgpsync_create_table(text, text, name);
CREATE FUNCTION cgpsync_create_table(source_table text, target_table text DEFAULT NULL, source name DEFAULT NULL, target name DEFAULT NULL)
RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET quote_all_identifiers = off SET transform_null_equals = off
AS 'MODULE_PATHNAME', 'cgpsync_create_table_v2_wrapper';
COMMENT ON FUNCTION cgpsync_create_table(text, text, name, name) IS
    'creates an empty table with the columns, constraints, indexes and partitions of the source''s, here or on another server; NOTICEs tell what is left out';

DROP FUNCTION cgpsync_import_config(jsonb, name);
CREATE FUNCTION cgpsync_import_config(config jsonb, server name DEFAULT 'cgpsync_source', target name DEFAULT NULL) RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_import_config_v2_wrapper';
COMMENT ON FUNCTION cgpsync_import_config(jsonb, name, name) IS
    'creates the server and the user mapping of the calling role that the old command-line tool''s config.json describes, or sets them anew; with target those of its destination too';
DROP FUNCTION cgpsync_import_config(text, name);
CREATE FUNCTION cgpsync_import_config(config text, server name DEFAULT 'cgpsync_source', target name DEFAULT NULL) RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'cgpsync_import_config_text_v2_wrapper';
COMMENT ON FUNCTION cgpsync_import_config(text, name, name) IS
    'the same from the text of the file, which no error quotes';

-- Without control characters.
CREATE OR REPLACE VIEW v_gp_range_partition_meta AS
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

-- The coordinator's lock on its table is one that SQL cannot take.
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
COMMENT ON COLUMN cgpsync_progress.waiting IS 'what processes wait for that no lock tells of: a server lets their statements wait, as in a resource queue or group';

-- The end of this script, whatever comes to it: owner and privileges of the functions that were
-- dropped go to those of the same name, those of cgpsync_sync also to the procedure. A grant comes
-- from whom it came before, as long as that role can find the function; else from the owner. What a
-- script grants counts as the extension's own, which pg_dump leaves to CREATE EXTENSION; but that
-- gives nothing, so the catalogs must not say so.
SET LOCAL search_path = pg_catalog, pg_temp;
DO $$
DECLARE
    role_before text := current_setting('role');
    f record;
    a record;
    statement text;
BEGIN
    FOR f IN
        SELECT p.oid, p.oid::regprocedure AS signature, p.proacl AS acl, b.proacl AS acl_before,
               b.proowner AS owner
        FROM cgpsync_before b
        JOIN pg_proc p ON p.proname = b.proname OR (p.proname = 'cgpsync' AND b.proname = 'cgpsync_sync')
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
        WHERE e.extname = 'cgpsync' AND b.oid NOT IN (SELECT oid FROM pg_proc)
          AND p.oid NOT IN (SELECT oid FROM cgpsync_before)
    LOOP
        EXECUTE format('ALTER ROUTINE %s OWNER TO %I', f.signature, pg_get_userbyid(f.owner));
        CONTINUE WHEN f.acl IS NULL AND f.acl_before IS NULL;
        -- What default privileges have given.
        FOR a IN
            SELECT DISTINCT CASE x.grantee WHEN 0 THEN 'PUBLIC'
                                 ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS grantee
            FROM pg_proc p, aclexplode(COALESCE(p.proacl, acldefault('f', p.proowner))) x
            WHERE p.oid = f.oid AND x.grantee <> p.proowner
        LOOP
            EXECUTE format('REVOKE ALL ON ROUTINE %s FROM %s', f.signature, a.grantee);
        END LOOP;
        -- In the order of the list a role gets its grant option before it uses it.
        FOR a IN
            SELECT CASE x.grantee WHEN 0 THEN 'PUBLIC'
                        ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS grantee,
                   pg_get_userbyid(x.grantor) AS grantor, x.grantor = f.owner AS by_owner,
                   CASE WHEN x.is_grantable THEN 'WITH GRANT OPTION' ELSE '' END AS option
            FROM aclexplode(COALESCE(f.acl_before, acldefault('f', f.owner)))
                 WITH ORDINALITY AS x(grantor, grantee, privilege_type, is_grantable, n)
            WHERE x.grantee <> f.owner ORDER BY x.n
        LOOP
            statement := format('GRANT EXECUTE ON ROUTINE %s TO %s %s',
                                f.signature, a.grantee, a.option);
            BEGIN
                IF NOT a.by_owner THEN
                    PERFORM set_config('role', a.grantor, true);
                END IF;
                EXECUTE statement;
                PERFORM set_config('role', role_before, true);
            EXCEPTION WHEN insufficient_privilege OR undefined_function THEN
                -- The role is the one before again.
                EXECUTE statement;
            END;
        END LOOP;
        DELETE FROM pg_init_privs WHERE classoid = 'pg_proc'::regclass AND objoid = f.oid;
        -- Since 17 the roles that were named there could not be dropped.
        DELETE FROM pg_shdepend
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = 'pg_proc'::regclass AND objid = f.oid AND deptype = 'i';
    END LOOP;
END $$;
DROP TABLE cgpsync_before;
