-- What a user of cgpsync types in the server beside a target that can load no extension. demo.sh gives the ports as variables and the password in
-- a file.

CREATE EXTENSION cgpsync;

CREATE SERVER prod FOREIGN DATA WRAPPER cgpsync
    OPTIONS (host '127.0.0.1', port :'source_port', dbname 'source');
CREATE SERVER dr FOREIGN DATA WRAPPER cgpsync
    OPTIONS (host '127.0.0.1', port :'target_port', dbname 'target');

-- Not echoed as it is sent, for the password's sake.
\set ECHO none
\set password `cat "$PASSWORD_FILE"`
\echo 'CREATE USER MAPPING FOR CURRENT_USER SERVER prod OPTIONS (user ''postgres'', password ''…'');'
\echo 'CREATE USER MAPPING FOR CURRENT_USER SERVER dr OPTIONS (user ''postgres'', password ''…'');'
CREATE USER MAPPING FOR CURRENT_USER SERVER prod OPTIONS (user 'postgres', password :'password');
CREATE USER MAPPING FOR CURRENT_USER SERVER dr OPTIONS (user 'postgres', password :'password');
\unset password
\set ECHO queries

SELECT cgpsync_attach('persons', 'dr');

\echo
\echo '== 6. the sync: every month up to and including February 2017, with 5 workers'
SELECT * FROM cgpsync_sync('persons', '20170201', 5);

\echo '== 7. the throughput of this run'
SELECT rows, pg_size_pretty(bytes) AS bytes, round(s, 2) AS seconds,
       round(rows / s) AS "rows/s", round(bytes / s / 1e6, 1) AS "MB/s"
FROM cgpsync_run, round(extract(epoch FROM finished_at - started_at)::numeric, 6) AS s
ORDER BY run_id DESC LIMIT 1;

\echo '== 8. what is left of it here: how far the table is synced, the run and its units'
SELECT * FROM sync_table;

SELECT run_id, table_name, status, source, source_table, end_tm, watermark, parallelism, units, rows, format, message
FROM cgpsync_run;

SELECT unit, partition, status, way, rows, bytes, finished_at - started_at AS took, worker_pid, source_relation
FROM cgpsync_run_partition ORDER BY run_id, unit;

\echo '== 9. the same call again: only February 2017, which may have grown since'
SELECT * FROM cgpsync_sync('persons', '20170201', 5);
