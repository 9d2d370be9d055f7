-- What a user of cgpsync types, in the target database. demo.sh gives the source's port as a variable and its password in
-- a file.

CREATE EXTENSION cgpsync;

CREATE SERVER warehouse FOREIGN DATA WRAPPER cgpsync
    OPTIONS (host '127.0.0.1', port :'source_port', dbname 'source');

-- Not echoed as it is sent, for the password's sake.
\set ECHO none
\set password `cat "$PASSWORD_FILE"`
\echo 'CREATE USER MAPPING FOR CURRENT_USER SERVER warehouse OPTIONS (user ''postgres'', password ''…'');'
CREATE USER MAPPING FOR CURRENT_USER SERVER warehouse OPTIONS (user 'postgres', password :'password');
\unset password
\set ECHO queries

\echo
\echo '== 6. the sync: every month up to and including February 2017, with 5 workers'
SELECT * FROM cgpsync_sync('persons', '20170201', 5);

\echo '== 7. the throughput of this run'
SELECT rows, pg_size_pretty(bytes) AS bytes, round(s, 2) AS seconds,
       round(rows / s) AS "rows/s", round(bytes / s / 1e6, 1) AS "MB/s"
FROM cgpsync_run, round(extract(epoch FROM finished_at - started_at)::numeric, 6) AS s
ORDER BY run_id DESC LIMIT 1;

\echo '== 8. what is left of it: how far the table is synced, its partitions, the run and its units'
SELECT * FROM sync_table;

SELECT * FROM v_gp_range_partition_meta WHERE table_name = 'persons'::regclass ORDER BY partitionposition;

SELECT run_id, table_name, status, source, source_table, end_tm, watermark, parallelism, units, rows, format, message
FROM cgpsync_run;

SELECT unit, partition, status, rows, bytes, finished_at - started_at AS took, worker_pid, source_relation
FROM cgpsync_run_partition ORDER BY run_id, unit;

\echo '== 9. the same call again: only February 2017, which may have grown since'
SELECT * FROM cgpsync_sync('persons', '20170201', 5);
