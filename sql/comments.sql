-- Runs last. A word on every object.

COMMENT ON FUNCTION cgpsync_sync(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'copies every partition of table_name up to end_tm that was not synced before from the source, with parallel workers that commit by themselves';
COMMENT ON PROCEDURE cgpsync(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'the same as a procedure, which holds neither snapshot nor lock while it waits; what it has done is in cgpsync_run';
COMMENT ON FUNCTION cgpsync_plan(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'what cgpsync_sync with the same arguments would do, partition by partition, and why; touches nothing';
COMMENT ON FUNCTION cgpsync_start(regclass, text, int, name, text, text, bool, text[], text, text, bool) IS
    'starts what cgpsync_sync does and gives the run''s number at once; the run goes on when the session ends';
COMMENT ON FUNCTION cgpsync_wait(bigint, interval) IS
    'waits for a run to end and gives what cgpsync_sync would, its error included';
COMMENT ON FUNCTION cgpsync_cancel(bigint) IS
    'ends a run and waits until its processes are gone; false if it was not on any more';
COMMENT ON FUNCTION cgpsync_prune(interval) IS
    'forgets runs of the calling role, or all if that is a superuser, that ended longer than older_than ago; gives their number';
COMMENT ON FUNCTION _cgpsync_live(bigint) IS
    'internal: live figures of a run and its units';
COMMENT ON FUNCTION cgpsync_attach(text, name, text) IS
    'creates a foreign table here that stands for a table on another server, which a sync then writes';
COMMENT ON FUNCTION cgpsync_create_table(text, text, name, name) IS
    'creates an empty table with the columns, constraints, indexes and partitions of the source''s, here or on another server; NOTICEs tell what is left out';
COMMENT ON FUNCTION cgpsync_import_config(jsonb, name, name) IS
    'creates the server and the user mapping of the calling role that the old command-line tool''s config.json describes, or sets them anew; with target those of its destination too';
COMMENT ON FUNCTION cgpsync_import_config(text, name, name) IS
    'the same from the text of the file, which no error quotes';
COMMENT ON FUNCTION cgpsync_verify(regclass, text, text, name, text, text, int) IS
    'compares partitions with the source by number of rows or by a checksum of their contents; changes nothing';
COMMENT ON FUNCTION cgpsync_fdw_validator(text[], oid) IS
    'checks the options of servers and user mappings of foreign-data wrapper cgpsync';
COMMENT ON FUNCTION _cgpsync_children(oid) IS
    'internal: direct partitions of a table in the order of their bounds';
COMMENT ON FOREIGN DATA WRAPPER cgpsync IS
    'connections to the source clusters of cgpsync; has no foreign tables';
COMMENT ON SEQUENCE cgpsync_run_id_seq IS 'numbers of runs';

COMMENT ON TABLE sync_table IS 'the point up to which each table is synced';
COMMENT ON COLUMN sync_table.table_name IS 'the target table; without its schema if that is public';
COMMENT ON COLUMN sync_table.end_tm IS 'end_tm of the last run that copied everything it had to';

COMMENT ON VIEW v_gp_range_partition_meta IS 'partitions of tables partitioned by RANGE, with their bounds as bare text';
COMMENT ON COLUMN v_gp_range_partition_meta.table_name IS 'the partitioned table';
COMMENT ON COLUMN v_gp_range_partition_meta.child_tbl_name IS 'the partition';
COMMENT ON COLUMN v_gp_range_partition_meta.partition_name IS 'its name without schema';
COMMENT ON COLUMN v_gp_range_partition_meta.partitionposition IS 'its place among its siblings in the order of bounds, from 1; a default partition comes last';
COMMENT ON COLUMN v_gp_range_partition_meta.partitionrangestart IS 'lower bound, inclusive; empty when open, null for a default partition';
COMMENT ON COLUMN v_gp_range_partition_meta.partitionrangeend IS 'upper bound, exclusive; empty when open, null for a default partition';
COMMENT ON COLUMN v_gp_range_partition_meta.rangetype IS 'type of the partition key';

COMMENT ON TABLE cgpsync_run IS 'one row for each call: what was asked, how it went';
COMMENT ON COLUMN cgpsync_run.run_id IS 'number of the run';
COMMENT ON COLUMN cgpsync_run.table_name IS 'name of the target table at the time; without its schema if that is public';
COMMENT ON COLUMN cgpsync_run.relation IS
    'OID of the target table; after a restore into another database, of the table of that name there';
COMMENT ON COLUMN cgpsync_run.home IS 'internal: the database that OIDs of this run are of';
COMMENT ON COLUMN cgpsync_run.status IS 'planning, running, done, failed or cancelled';
COMMENT ON COLUMN cgpsync_run.source IS 'foreign server';
COMMENT ON COLUMN cgpsync_run.source_table IS 'table read there';
COMMENT ON COLUMN cgpsync_run.source_address IS 'host, port and database the server''s options named when the run began';
COMMENT ON COLUMN cgpsync_run.end_tm IS 'point up to which the table was to be synced, as a value of the key';
COMMENT ON COLUMN cgpsync_run.since IS 'point given to override the remembered one';
COMMENT ON COLUMN cgpsync_run.watermark IS 'end_tm remembered when the run began';
COMMENT ON COLUMN cgpsync_run.parallelism IS 'workers at most';
COMMENT ON COLUMN cgpsync_run.units IS 'partitions selected; null while planning';
COMMENT ON COLUMN cgpsync_run.rows IS 'rows copied';
COMMENT ON COLUMN cgpsync_run.bytes IS 'COPY bytes received';
COMMENT ON COLUMN cgpsync_run.started_at IS 'when the coordinator took the call';
COMMENT ON COLUMN cgpsync_run.finished_at IS 'when the run ended';
COMMENT ON COLUMN cgpsync_run.message IS 'remarks, as shown to the caller';
COMMENT ON COLUMN cgpsync_run.error_code IS 'SQLSTATE of what ended the run';
COMMENT ON COLUMN cgpsync_run.error_message IS 'message of what ended the run';
COMMENT ON COLUMN cgpsync_run.error_detail IS 'its DETAIL';
COMMENT ON COLUMN cgpsync_run.error_hint IS 'its HINT';
COMMENT ON COLUMN cgpsync_run.role_name IS 'role that called and whose privileges applied';
COMMENT ON COLUMN cgpsync_run.coordinator_pid IS 'process of the coordinator';
COMMENT ON COLUMN cgpsync_run.columns IS 'columns copied, in the order of COPY';
COMMENT ON COLUMN cgpsync_run.format IS 'format of COPY: binary or text';
COMMENT ON COLUMN cgpsync_run.snapshot IS 'snapshot on the source that all workers share; null where each partition is read in one of its own';
COMMENT ON COLUMN cgpsync_run.arguments IS 'arguments and settings of the call';
COMMENT ON COLUMN cgpsync_run.board IS 'internal: shared memory with the live figures of a run that is on';
COMMENT ON COLUMN cgpsync_run.source_system IS
    'system identifier of the server read; where it tells none, "table" and the OID of the source table';
COMMENT ON COLUMN cgpsync_run.source_database IS 'database read';
COMMENT ON COLUMN cgpsync_run.source_server IS
    'the one server that all sessions of the run must reach: where it listens, and since when; null if it does not tell';
COMMENT ON COLUMN cgpsync_run.column_types IS 'internal: the types of these columns here when planned: OID and name';
COMMENT ON COLUMN cgpsync_run.target_session IS
    'internal: of a table on another server, the session there that holds the run''s lock';
COMMENT ON COLUMN cgpsync_run.source_known IS 'internal: what the run''s first session has learned of the source''s server';
COMMENT ON COLUMN cgpsync_run.source_peer IS
    'network address that was reached first, and that the other sessions are opened to; null for a Unix socket';
COMMENT ON COLUMN cgpsync_run.remembered IS
    'end_tm that this run left in sync_table; null if it left that alone';
COMMENT ON COLUMN cgpsync_run.point IS
    'end_tm, or the source''s present if that was earlier: what is remembered if every unit is done';

COMMENT ON TABLE cgpsync_run_partition IS 'one row for each partition of a run';
COMMENT ON COLUMN cgpsync_run_partition.run_id IS 'the run';
COMMENT ON COLUMN cgpsync_run_partition.unit IS 'number within the run, in the order of work';
COMMENT ON COLUMN cgpsync_run_partition.partition IS 'name of the target''s partition, or of the whole unpartitioned table; without its schema if that is public';
COMMENT ON COLUMN cgpsync_run_partition.relation IS 'OID of the partition, if it is of this database';
COMMENT ON COLUMN cgpsync_run_partition.status IS 'pending, copying, done, failed, cancelled or skipped';
COMMENT ON COLUMN cgpsync_run_partition.rows IS 'rows copied';
COMMENT ON COLUMN cgpsync_run_partition.bytes IS 'COPY bytes received';
COMMENT ON COLUMN cgpsync_run_partition.estimated_bytes IS 'size of the source''s partition when the run was planned';
COMMENT ON COLUMN cgpsync_run_partition.started_at IS 'when a worker took it';
COMMENT ON COLUMN cgpsync_run_partition.finished_at IS 'when it ended';
COMMENT ON COLUMN cgpsync_run_partition.message IS 'remark, such as why it was skipped';
COMMENT ON COLUMN cgpsync_run_partition.error_code IS 'SQLSTATE of its error';
COMMENT ON COLUMN cgpsync_run_partition.error_message IS 'message of its error';
COMMENT ON COLUMN cgpsync_run_partition.error_detail IS 'DETAIL of its error, with the line and column COPY was at';
COMMENT ON COLUMN cgpsync_run_partition.error_hint IS 'HINT of its error';
COMMENT ON COLUMN cgpsync_run_partition.worker_pid IS 'process of the worker';
COMMENT ON COLUMN cgpsync_run_partition.source_relation IS
    'relation read on the source; null where nothing is read';
COMMENT ON COLUMN cgpsync_run_partition.source_filter IS 'condition on its rows; null for all';
COMMENT ON COLUMN cgpsync_run_partition.filter_here IS 'rows of other partitions come too and are dropped here, as only this server can tell HASH partitions apart';
COMMENT ON COLUMN cgpsync_run_partition.way IS 'swap, exchange or truncate: how its rows were replaced; behind it pages, where these were not written by COPY';
COMMENT ON COLUMN cgpsync_run_partition.processes IS 'how many processes loaded it';
COMMENT ON COLUMN cgpsync_run_partition.cut IS 'internal: how a slice of a table that is partitioned on the source can be read in pieces';
COMMENT ON COLUMN cgpsync_run_partition.attempts IS 'how often it was begun';
COMMENT ON COLUMN cgpsync_run_partition.retry_at IS 'when it is tried again after a failure that may pass';
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
COMMENT ON COLUMN cgpsync_run_partition.target_relation IS
    'a partition on another server, quoted and qualified; null for one of this database';
COMMENT ON COLUMN cgpsync_run_partition.target_oid IS 'its OID over there, which an exchange changes';
COMMENT ON COLUMN cgpsync_run_partition.source_exact IS
    'internal: source_relation and source_filter as they are, as JSON in UTF8, where those are shown without control characters';

COMMENT ON VIEW cgpsync_progress IS 'runs of this role that are on: how far they are and when they will end';
COMMENT ON COLUMN cgpsync_progress.run_id IS 'number of the run';
COMMENT ON COLUMN cgpsync_progress.table_name IS 'the target table';
COMMENT ON COLUMN cgpsync_progress.source IS 'foreign server';
COMMENT ON COLUMN cgpsync_progress.status IS 'planning or running';
COMMENT ON COLUMN cgpsync_progress.units_done IS 'partitions that are finished';
COMMENT ON COLUMN cgpsync_progress.units_total IS 'partitions selected; null while planning';
COMMENT ON COLUMN cgpsync_progress.rows IS 'rows received';
COMMENT ON COLUMN cgpsync_progress.bytes_done IS 'COPY bytes received';
COMMENT ON COLUMN cgpsync_progress.estimated_bytes IS 'size on the source of the partitions to copy, as far as known';
COMMENT ON COLUMN cgpsync_progress.percent IS 'copied part of the work; never falls';
COMMENT ON COLUMN cgpsync_progress.mb_per_s_now IS 'million bytes per second in the last seconds';
COMMENT ON COLUMN cgpsync_progress.mb_per_s IS 'million bytes per second since copying began';
COMMENT ON COLUMN cgpsync_progress.started_at IS 'when the run began';
COMMENT ON COLUMN cgpsync_progress.elapsed IS 'time since then';
COMMENT ON COLUMN cgpsync_progress.eta IS 'when it will end at this pace';
COMMENT ON COLUMN cgpsync_progress.workers IS 'workers that are copying';
COMMENT ON COLUMN cgpsync_progress.copying IS 'what each of them is copying';
COMMENT ON COLUMN cgpsync_progress.waiting IS 'what processes wait for that no lock tells of: a server lets their statements wait, as in a resource queue or group';
