#!/usr/bin/env bash
# How fast cgpsync is between two real Greenplum clusters, which SOURCE_GP and TARGET_GP lead to as for test-greenplum, beside psql in pipes: the way of old
# scripts (TRUNCATE, text, a query) and the fastest there is (binary, COPY of the leaf by its name, TRUNCATE and COPY … FREEZE in one transaction). Each way
# asks for the partitions and has as many at a time, in turn; nothing is analyzed. At the end a session reads the table while it is synced, and while another one
# is: how long its longest query took. ROWS of all partitions (2000000), LEAVES (14), ROUNDS (3), PARALLELISM (4).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${SOURCE_GP:-}" ] || [ -z "${TARGET_GP:-}" ]; then
    echo "usage: make bench-greenplum SOURCE_GP='host=… port=… user=… dbname=…' TARGET_GP='host=… port=… user=… dbname=…'" >&2
    exit 2
fi
"$here/support/setup.sh" bench
. "$here/support/env.sh"
cd "$root"
. "$here/support/ground.sh" "" -N
rows=${ROWS:-2000000} leaves=${LEAVES:-14} rounds=${ROUNDS:-3}
export parallelism=${PARALLELISM:-4}
schema=cgpsync_test_bench

gp() { PGOPTIONS='-c client_min_messages=warning' "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 "$@"; }
clear_both() {
    for cluster in "$SOURCE_GP" "$TARGET_GP"; do gp "$cluster" -c "DROP SCHEMA IF EXISTS $schema CASCADE"; done
}
trap 'clear_both || true; leave_ground' EXIT
clear_both

for table in big other; do
    make="CREATE TABLE $schema.$table (id bigint, name varchar(64), d date, ts timestamp, amount numeric(12,2), code int, note text, flag boolean)
          DISTRIBUTED BY (id) PARTITION BY RANGE (d) (START (date '2016-01-01') END (date '$(date -d "2016-01-01 + $leaves days" +%F)') EVERY (INTERVAL '1 day'))"
    for cluster in "$SOURCE_GP" "$TARGET_GP"; do
        gp "$cluster" -c "CREATE SCHEMA $schema" 2>/dev/null || true
        gp "$cluster" -c "$make"
    done
    gp "$SOURCE_GP" -c "INSERT INTO $schema.$table SELECT g, 'name number ' || g, date '2016-01-01' + (g % $leaves)::int, timestamp '2016-01-01' + g * interval '1 second',
        (g % 1000000) / 100.0, g % 1000, repeat('x', (g % 90)::int), g % 2 = 0 FROM generate_series(1, $rows) g" -c "ANALYZE $schema.$table"
done

# The server between, which nobody reaches but by its own socket: so no port can be taken.
"${as_user[@]}" cp -a "$dir/template" "$dir/between"
port=5432
"${as_user[@]}" "$bin/pg_ctl" -D "$dir/between" -l "$dir/between.log" -w -o "-p $port -k $dir -c listen_addresses='' -c max_worker_processes=32" start >/dev/null
trap 'clear_both || true; "${as_user[@]}" "$bin/pg_ctl" -D "$dir/between" -m immediate stop >/dev/null; leave_ground' EXIT
between() { PGOPTIONS="-c client_min_messages=warning ${settings:-}" "$bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h "$dir" -p "$port" -U postgres postgres "$@"; }
# options CONNECTION PATTERN: those of its words whose names are like it, as OPTIONS has them.
options() {
    local word list=
    for word in $1; do
        if [[ ${word%%=*} =~ $2 ]]; then list="$list${list:+, }${word%%=*} '${word#*=}'"; fi
    done
    echo "$list"
}
between -c "CREATE EXTENSION cgpsync; CREATE SCHEMA $schema"
for end in "prod $SOURCE_GP" "dr $TARGET_GP"; do
    between -c "CREATE SERVER ${end%% *} FOREIGN DATA WRAPPER cgpsync OPTIONS ($(options "${end#* }" '^(host|port|dbname)$'))" \
        -c "CREATE USER MAPPING FOR CURRENT_USER SERVER ${end%% *} OPTIONS ($(options "${end#* }" '^(user|password)$'))"
done
between -c "SELECT cgpsync_attach('$schema.big', 'dr'), cgpsync_attach('$schema.other', 'dr')" >/dev/null

export SOURCE_GP TARGET_GP bin schema
leaves_6="SELECT partitiontablename FROM pg_partitions WHERE schemaname = '$schema' AND tablename = 'big' ORDER BY 1"
leaves_7="SELECT c.relname FROM pg_partition_tree('$schema.big') t JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf"
if gp "$SOURCE_GP" -c "$leaves_6" >/dev/null 2>&1; then
    ask=$leaves_6
else
    ask=$leaves_7
fi
# A script has to find the partitions as well.
names() { gp "$SOURCE_GP" -c "$ask"; }
psql_text() {
    # shellcheck disable=SC2016 # the inner shell's
    names | xargs -P "$parallelism" -I{} bash -c 'set -eo pipefail
        "$bin/psql" -X -q "$SOURCE_GP" -c "COPY (SELECT * FROM $schema.{}) TO STDOUT" | "$bin/psql" -X -q "$TARGET_GP" -c "TRUNCATE $schema.{}" -c "COPY $schema.{} FROM STDIN"'
}
psql_binary() {
    # shellcheck disable=SC2016 # the inner shell's
    names | xargs -P "$parallelism" -I{} bash -c 'set -eo pipefail
        "$bin/psql" -X -q "$SOURCE_GP" -c "COPY $schema.{} TO STDOUT (FORMAT binary)" \
            | "$bin/psql" -X -q -1 "$TARGET_GP" -c "SET gp_autostats_mode = none" -c "TRUNCATE $schema.{}" -c "COPY $schema.{} FROM STDIN (FORMAT binary, FREEZE)"'
}
sync() { settings='-c cgpsync.analyze_partitions=off' between -c "SELECT count(*) FROM cgpsync_sync('$schema.$1', '20200101', $parallelism, source => 'prod', since => '1990')" >/dev/null; }
cgpsync() { sync big; }
now() { date +%s%N; }

echo "$rows rows, $leaves partitions, $parallelism at a time: seconds"
for round in $(seq "$rounds"); do
    for way in psql_text psql_binary cgpsync; do
        gp "$TARGET_GP" -c CHECKPOINT
        begin=$(now)
        $way
        echo "$round $way $(($(now) - begin))" | awk '{ printf "%d %-12s %.2f\n", $1, $2, $3 / 1e9 }' | tee -a "$dir/seconds"
    done
done
awk '{ n[$2]++; v[$2, n[$2]] = $3 }
     END { for (way in n) { k = 0; for (i = 1; i <= n[way]; i++) { x = v[way, i]; for (j = k; j > 0 && s[j] > x; j--) s[j + 1] = s[j]; s[j + 1] = x; k++ } m[way] = s[int((k + 1) / 2)] }
           printf "medians: cgpsync %.2f; of psql, binary %.2f, of psql, text %.2f\n", m["cgpsync"], m["cgpsync"] / m["psql_binary"], m["cgpsync"] / m["psql_text"] }' "$dir/seconds"

# The longest of a reader's queries, milliseconds, while $1 is synced.
longest() {
    local reader
    rm -f "$dir/stop"
    while [ ! -e "$dir/stop" ]; do echo "SELECT count(*) FROM $schema.big WHERE d = '2016-01-03' AND id < 100;"; done 2>/dev/null \
        | gp "$TARGET_GP" -c '\timing on' -f - >"$dir/reader" 2>/dev/null &
    reader=$!
    sync "$1"
    touch "$dir/stop"
    # What is in the pipe still is not waited for.
    kill "$reader" 2>/dev/null || true
    wait "$reader" 2>/dev/null || true
    awk '/^Time:/ { if ($2 > most) most = $2; n++ } END { printf "%.0f ms of %d queries", most, n }' "$dir/reader"
}
for round in $(seq "$rounds"); do
    echo "$round longest query of a reader of the table: $(longest big); while another table is synced: $(longest other)"
done
