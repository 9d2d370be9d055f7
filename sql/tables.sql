-- Said when the extension is made: a call would refuse it when servers and mappings have been made, too. No error, as a dump of such a database must be restored.
DO $$
BEGIN
    IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
        RAISE WARNING 'cgpsync cannot sync into this database: its encoding is %', pg_catalog.getdatabaseencoding()
            USING HINT = 'Create the extension in a database with encoding UTF8; the source may have any.';
    END IF;
END $$;

-- State of cgpsync. Written by its processes with the privileges of the extension's owner, read by everyone as the
-- policies allow. Kept by pg_dump.

-- The old tool's table: names as text, so that its queries (WHERE table_name = 'persons') go on working.
CREATE TABLE sync_table (
    table_name text PRIMARY KEY,
    end_tm     text
);

CREATE SEQUENCE cgpsync_run_id_seq;

CREATE TABLE cgpsync_run (
    run_id          bigint PRIMARY KEY DEFAULT nextval('cgpsync_run_id_seq'),
    table_name      text NOT NULL,
    relation        oid,
    status          text NOT NULL CHECK (status IN ('planning', 'running', 'done', 'failed', 'cancelled')),
    source          text NOT NULL,
    source_table    text,
    source_address  text,
    end_tm          text,
    since           text,
    watermark       text,
    parallelism     integer NOT NULL,
    units           integer,
    rows            bigint,
    bytes           bigint,
    started_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at     timestamptz,
    message         text,
    error_code      text,
    error_message   text,
    error_detail    text,
    error_hint      text,
    role_name       name NOT NULL,
    coordinator_pid integer NOT NULL,
    columns         text[],
    format          text CHECK (format IN ('binary', 'text')),
    snapshot        text,
    arguments       jsonb NOT NULL,
    board           bigint,
    source_system   text,
    source_database text,
    remembered      text,
    point           text,
    source_server   text,
    source_peer     text,
    column_types    text[],
    target_session  jsonb,
    source_known    jsonb,
    home            text
);
CREATE INDEX cgpsync_run_table_name_idx ON cgpsync_run (table_name, run_id);
CREATE INDEX cgpsync_run_relation_idx ON cgpsync_run (relation, run_id);
CREATE INDEX cgpsync_run_finished_at_idx ON cgpsync_run (finished_at);
CREATE INDEX cgpsync_run_open_idx ON cgpsync_run (run_id) WHERE status IN ('planning', 'running');

CREATE TABLE cgpsync_run_partition (
    run_id          bigint NOT NULL REFERENCES cgpsync_run ON DELETE CASCADE,
    unit            integer NOT NULL,
    partition       text NOT NULL,
    relation        oid,
    status          text NOT NULL
                    CHECK (status IN ('pending', 'copying', 'done', 'failed', 'cancelled', 'skipped')),
    rows            bigint,
    bytes           bigint,
    estimated_bytes bigint,
    started_at      timestamptz,
    finished_at     timestamptz,
    message         text,
    error_code      text,
    error_message   text,
    error_detail    text,
    error_hint      text,
    worker_pid      integer,
    source_relation text,
    source_filter   text,
    filter_here     boolean NOT NULL DEFAULT false,
    attempts        integer NOT NULL DEFAULT 0,
    retry_at        timestamptz,
    way             text CHECK (way IN ('swap', 'exchange', 'truncate', 'swap, pages', 'truncate, pages')),
    processes       integer,
    cut             jsonb,
    file_number     oid,
    server_start    timestamptz,
    source_parts    boolean NOT NULL DEFAULT false,
    source_state    text,
    vanished_filter text,
    bound           text,
    source_exact    bytea,
    target_relation text,
    target_oid      oid,
    PRIMARY KEY (run_id, unit)
);
CREATE INDEX cgpsync_run_partition_relation_idx ON cgpsync_run_partition (relation, run_id);
CREATE INDEX cgpsync_run_partition_target_relation_idx ON cgpsync_run_partition (target_relation, run_id) WHERE target_relation IS NOT NULL;

SELECT pg_catalog.pg_extension_config_dump('sync_table', '');
SELECT pg_catalog.pg_extension_config_dump('cgpsync_run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('cgpsync_run', '');
SELECT pg_catalog.pg_extension_config_dump('cgpsync_run_partition', '');

-- A role sees its own runs, and one with the rights of pg_monitor those of all; superusers bypass the policies, as everywhere.
ALTER TABLE cgpsync_run ENABLE ROW LEVEL SECURITY;
ALTER TABLE cgpsync_run_partition ENABLE ROW LEVEL SECURITY;
CREATE POLICY cgpsync_run_own ON cgpsync_run FOR SELECT
    USING (role_name OPERATOR(pg_catalog.=) CURRENT_USER OR pg_catalog.pg_has_role(CURRENT_USER, 'pg_monitor', 'USAGE'));
CREATE POLICY cgpsync_run_partition_own ON cgpsync_run_partition FOR SELECT
    USING (EXISTS (SELECT FROM cgpsync_run r
                   WHERE r.run_id OPERATOR(pg_catalog.=) cgpsync_run_partition.run_id));
GRANT SELECT ON sync_table, cgpsync_run, cgpsync_run_partition TO PUBLIC;
