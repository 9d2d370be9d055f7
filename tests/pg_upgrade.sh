#!/usr/bin/env bash
# pg_upgrade of a target: OLD (16) to NEW (18), major versions or paths of a pg_config. A table that was synced to February before goes on in March
# after, with its history, server and mapping. Not from Debian's 15 by default: a new server has to be as recent as the old one's last security fixes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
old=${OLD:-16}
new=${NEW:-18}

# with VERSION COMMAND...: the server is this one.
with() {
    local server=$1
    shift
    case $server in
        */*) PG='' PG_CONFIG=$server "$@" ;;
        *) PG=$server PG_CONFIG='' "$@" ;;
    esac
}
with "$old" "$here/support/setup.sh"
with "$new" "$here/support/setup.sh"

case $new in
    */*) PG_CONFIG=$new PG='' ;;
    *) PG=$new PG_CONFIG='' ;;
esac
. "$here/support/env.sh"
cd "$root"
# The new cluster has to be like the old one; 18 would make checksums.
options=()
[ "$PG" -lt 18 ] || options+=(--no-data-checksums)
. "$here/support/ground.sh" --debug -N "${options[@]}"
old_bin=$(with "$old" "$here/support/prefix.sh" "$dir/old" --debug)
"$old_bin/postgres" --version
"$bin/postgres" --version

run() {
    (cd "$dir" && "${as_user[@]}" env PGPASSWORD=secret "$@")
}
template "$old_bin" "$dir/before" -N
template "$old_bin" "$dir/origin" -N
mkdir "$dir/socket"
if [ ${#as_user[@]} -gt 0 ]; then
    chown "$user" "$dir/socket"
fi

# start BIN CLUSTER PORT
start() {
    run "$1/pg_ctl" -D "$dir/$2" -w -l "$dir/$2.log" start >/dev/null \
        -o "-p $3 -k $dir/socket -c listen_addresses=127.0.0.1 -c fsync=off -c max_worker_processes=16" || { cat "$dir/$2.log" >&2; exit 1; }
}
sql() {
    run "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -h "$dir/socket" -U postgres -p "$@" postgres
}
persons="CREATE TABLE persons (id bigint, born date NOT NULL, note text, PRIMARY KEY (id, born)) PARTITION BY RANGE (born);
    CREATE TABLE persons_201701 PARTITION OF persons FOR VALUES FROM ('2017-01-01') TO ('2017-02-01');
    CREATE TABLE persons_201702 PARTITION OF persons FOR VALUES FROM ('2017-02-01') TO ('2017-03-01');
    CREATE TABLE persons_201703 PARTITION OF persons FOR VALUES FROM ('2017-03-01') TO ('2017-04-01')"
state="SELECT (SELECT string_agg(s::text, ' ') FROM sync_table s),
    (SELECT string_agg(concat_ws(' ', run_id, relation, status, rows), ', ') FROM cgpsync_run),
    (SELECT string_agg(concat_ws(' ', relation, status, rows, way), ', ' ORDER BY unit) FROM cgpsync_run_partition),
    (SELECT count(*) || ' ' || sum(id) FROM persons), (SELECT string_agg(option, ' ' ORDER BY option) FROM pg_foreign_server, unnest(srvoptions) option)"

port=$(free_port $((20000 + RANDOM % 10000)))
start "$old_bin" origin "$port"
sql "$port" -c "$persons" -c "INSERT INTO persons SELECT g, date '2017-01-01' + g % 90, 'note ' || g FROM generate_series(1, 9000) g"
target_port=$(free_port $((port + 1)))
start "$old_bin" before "$target_port"
sql "$target_port" -c "$persons" -c "CREATE EXTENSION cgpsync" \
    -c "CREATE SERVER src FOREIGN DATA WRAPPER cgpsync OPTIONS (host '127.0.0.1', port '$port', dbname 'postgres')" \
    -c "CREATE USER MAPPING FOR postgres SERVER src OPTIONS (user 'postgres', password 'secret')" \
    -c "SET client_min_messages = warning" -c "SELECT count(*) FROM cgpsync_sync('persons', '20170201')" >/dev/null
state_before=$(sql "$target_port" -c "$state")
run "$old_bin/pg_ctl" -D "$dir/before" -w -m fast stop >/dev/null

run "$bin/pg_upgrade" --old-bindir "$old_bin" --new-bindir "$bin" --old-datadir "$dir/before" --new-datadir "$dir/template" \
    --username postgres --socketdir "$dir/socket" >"$dir/pg_upgrade.log" 2>&1 || { cat "$dir/pg_upgrade.log" >&2; grep -hE -A4 "error:|ERROR" "$dir"/template/pg_upgrade_output.d/*/log/*.log >&2; exit 1; }
start "$bin" template "$target_port"
state_after=$(sql "$target_port" -c "$state")
echo "before: $state_before"
echo "after:  $state_after"
[ "$state_after" = "$state_before" ]
copied=$(sql "$target_port" -c "SET client_min_messages = warning" -c "SELECT string_agg(partition::text, ' ') FROM cgpsync_sync('persons', '20170331')")
[ "$copied" = "persons_201702 persons_201703" ] || { echo "copied: $copied" >&2; exit 1; }
matches=$(sql "$target_port" -c "SELECT string_agg(matches::text, ' ') FROM cgpsync_verify('persons', method => 'checksum')")
[ "$matches" = "true true true" ] || { echo "matches: $matches" >&2; exit 1; }
echo "pg_upgrade: goes on where it was"
