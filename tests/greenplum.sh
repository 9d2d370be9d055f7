#!/usr/bin/env bash
# The stories between two real Greenplum clusters, which SOURCE_GP and TARGET_GP lead to as libpq writes it ('host=… port=… user=… dbname=…'), and a
# throwaway PostgreSQL with the extension between them. All they make there is in schemas, roles and resource queues that begin with
# cgpsync_test_, and goes at the end; what an earlier run has left goes at the beginning. The role must be superuser, and its password, if one is
# asked for, must be in the string. Arguments choose stories.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${SOURCE_GP:-}" ] || [ -z "${TARGET_GP:-}" ]; then
    echo "usage: make test-greenplum SOURCE_GP='host=… port=… user=… dbname=…' TARGET_GP='host=… port=… user=… dbname=…'" >&2
    exit 2
fi
export CGPSYNC_SOURCE_GP=$SOURCE_GP CGPSYNC_TARGET_GP=$TARGET_GP
"$here/support/setup.sh" tests
. "$here/support/env.sh"
cd "$root"
. "$here/support/ground.sh" --debug --wal-segsize 4 -N

# Who has it locked is ended first.
ours="LIKE 'cgpsync\\_test\\_%'"
leftovers="
SELECT DISTINCT 'SELECT pg_terminate_backend(' || l.pid || ')' FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE nspname $ours AND l.pid <> pg_backend_pid() AND l.pid IN (SELECT pid FROM pg_stat_activity);
SELECT 'DROP SCHEMA ' || quote_ident(nspname) || ' CASCADE' FROM pg_namespace WHERE nspname $ours;
SELECT 'DROP OWNED BY ' || quote_ident(rolname) || ' CASCADE' FROM pg_roles WHERE rolname $ours;
SELECT 'DROP ROLE ' || quote_ident(rolname) FROM pg_roles WHERE rolname $ours;
SELECT 'DROP RESOURCE QUEUE ' || quote_ident(rsqname) FROM pg_resqueue WHERE rsqname $ours;"
# clear CONNECTION: removes all that is ours there.
clear() {
    local query
    while read -r -d ';' query; do
        "$bin/psql" -X -q -A -t "$1" -c "$query" | sed 's/$/;/' \
            | PGOPTIONS='-c client_min_messages=warning' "$bin/psql" -X -q "$1" >/dev/null
    done <<<"$leftovers"
}
clear_both() {
    clear "$SOURCE_GP"
    clear "$TARGET_GP"
}
clear_both
trap 'clear_both || true; leave_ground' EXIT
for cluster in "source: $SOURCE_GP" "target: $TARGET_GP"; do
    echo "${cluster%%:*}: $("$bin/psql" -X -A -t "${cluster#*: }" -c 'SELECT version()' | sed 's/ on .*//')"
done

# One at a time: they look at the clusters' sessions, and how long readers wait. What fails has failed.
log=$dir/greenplum.log
export RUST_TEST_THREADS=1 STORIES_AGAIN=0
status=0
tests/support/stories.sh --ignored "${@:-greenplum::}" | tee "$log" || status=$?
sed -n 's/^test result: .*\. \([0-9]* passed\); \([0-9]* failed\);.*/\1, \2/p' "$log"
exit "$status"
