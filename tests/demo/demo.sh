#!/usr/bin/env bash
# Shows cgpsync at work between two throwaway clusters, see `make demo`. With TARGET=remote the target has no extension, and a third cluster beside it
# has. With KEEP=1 they stay, to play with.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
keep=${KEEP:-}
[ "$keep" != 0 ] || keep=
case ${TARGET:-local} in
    local) names='source target' ;;
    remote) names='source target between' ;;
    *) echo "TARGET must be local or remote, not $TARGET" >&2 && exit 2 ;;
esac

say() { printf '\n== %s\n' "$*"; }

dir=$(mktemp -d /tmp/cgpsync-demo.XXXXXX)
bin=
as_user=()
at_end=

# The servers' side sees nothing of the caller's environment: not PGOPTIONS, not PGPASSWORD, not RUST_BACKTRACE.
run() {
    "${as_user[@]}" env -i PATH="$PATH" HOME="$dir" LANG=C.UTF-8 PGCLIENTENCODING=UTF8 PASSWORD_FILE="$dir/password" "$@"
}

stop() {
    local mode=$1 name
    for name in $names; do
        if [ -f "$dir/$name/postmaster.pid" ]; then
            run "$bin/pg_ctl" -D "$dir/$name" -m "$mode" -t 30 stop >/dev/null \
                || run "$bin/pg_ctl" -D "$dir/$name" -m immediate stop >/dev/null
        fi
    done
}

clean_up() {
    local status=$? name
    trap - EXIT
    trap '' INT TERM HUP
    set +e
    cd /
    if [ -n "$at_end" ] && [ -n "$keep" ]; then
        exit 0
    fi
    if [ -n "$at_end" ]; then
        stop fast
    else
        # After a signal everybody knows why it ended.
        if [ "$status" -lt 128 ]; then
            for name in $names; do
                if [ -f "$dir/$name.log" ]; then
                    printf '\nthe last lines of the log of the %s:\n' "$name"
                    tail -n 20 "$dir/$name.log"
                fi
            done >&2
        fi
        stop immediate
    fi
    rm -rf "$dir"
    if [ -n "$at_end" ]; then
        say "stopped and removed; \`make demo KEEP=1\` leaves the clusters running and says how to connect"
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

say '1. what the build needs and this machine lacks gets installed'
"$here/../support/setup.sh"
. "$here/../support/env.sh"

say '2. the build, and a private copy of the PostgreSQL installation to install it in (minutes the first time)'
bin=$("$here/../support/prefix.sh" "$dir/prefix")
"$bin/postgres" --version
begin=$SECONDS

# PostgreSQL refuses to run as root.
if [ "$(id -u)" = 0 ]; then
    user=nobody
    ! id postgres >/dev/null 2>&1 || user=postgres
    as_user=(runuser -u "$user" --)
else
    user=$(id -un)
fi
# Still closed to others, as "trust" on the sockets below asks for.
chown "$user" "$dir"
cd "$dir"

say "3. clusters in $dir, run by $user: $names"
(umask 077 && od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >password)
chown "$user" password

# start NAME: on a port that is free, which is $port then.
start() {
    local name=$1
    run "$bin/initdb" -D "$dir/$name" -U postgres --pwfile "$dir/password" --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --locale C.UTF-8 --no-sync >/dev/null
    port=$(free_port 54321)
    # fsync is off because what is thrown away need not survive a crash. Never do this to data you want back.
    run tee -a "$dir/$name/postgresql.conf" >/dev/null <<-CONF
		port = $port
		listen_addresses = '127.0.0.1'
		unix_socket_directories = '$dir'
		fsync = off
		max_worker_processes = 16
	CONF
    # A Ctrl-C between the server's start and its postmaster.pid would leave a server that nobody stops.
    (trap '' INT TERM HUP && run "$bin/pg_ctl" -D "$dir/$name" -l "$dir/$name.log" start >/dev/null)
    run "$bin/createdb" -h "$dir" -p "$port" -U postgres "$name"
    printf '%s: 127.0.0.1:%s, database %s\n' "$name" "$port" "$name"
}

# sql NAME PORT [OPTION...]: runs the SQL on stdin. From a file, psql would put its name before each NOTICE.
sql() {
    local name=$1 port=$2
    shift 2
    run "$bin/psql" -X -v ON_ERROR_STOP=1 -P pager=off -P 'null=(null)' -h "$dir" -p "$port" -U postgres "$@" "$name" 2>&1
}

start source
source_port=$port
start target
target_port=$port

say '4. the source: 2,000,000 persons in 24 monthly partitions'
sql source "$source_port" -e <"$here/source.sql"

say '5. the target: the same table without rows; the extension, and where the source is'
sql target "$target_port" -e <"$here/target.sql"
case $names in
    *between)
        start between
        between_port=$port
        sql between "$between_port" -e -v source_port="$source_port" -v target_port="$target_port" <"$here/remote.sql"
        ;;
    *) sql target "$target_port" -e -v source_port="$source_port" <"$here/sync.sql" ;;
esac

say '10. both sides hold the same rows up to there'
same="SELECT count(*) AS rows, sum(hashtextextended(p::text, 0)) AS hashes FROM persons p WHERE born < '2017-03-01'"
echo "$same;"
at_source=$(echo "$same" | sql source "$source_port" -At)
at_target=$(echo "$same" | sql target "$target_port" -At)
echo "source: $at_source"
echo "target: $at_target"
if [ "$at_source" != "$at_target" ]; then
    echo 'they differ' >&2
    exit 1
fi
echo "the same; $((SECONDS - begin)) seconds since the build"

if [ -n "$keep" ]; then
    # Built from words that need no quotes; a function, because the file removes itself.
    cat >stop <<-STOP
		#!/bin/sh
		# Stops both clusters and removes all of it.
		stop() {
		    cd /
		    for name in $names; do
		        ${as_user[*]} '$bin/pg_ctl' -D "$dir/\$name" -m fast stop
		    done
		    rm -rf '$dir'
		}
		stop
		exit
	STOP
    chmod 755 stop
    psql="$bin/psql -h $dir -U postgres"
    say "the clusters are still running; as $(id -un),"
    echo "connect to the source:     $psql -p $source_port source"
    echo "connect to the target:     $psql -p $target_port target"
    echo "stop and remove all of it: $dir/stop"
    [ -z "${between_port:-}" ] || echo "to the server between:     $psql -p $between_port between"
    echo "and where cgpsync is, say: SELECT * FROM cgpsync_sync('persons', '201712');"
fi
at_end=yes
