#!/usr/bin/env bash
# Runs every test: the pure ones, then the stories on real clusters. Arguments choose stories, which are run alone, as they do for a test binary of
# cargo's, for example `tests/run.sh cancel` for those with "cancel" in their name.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh" tests
. "$here/support/env.sh"
cd "$root"

# A server without TLS has its sources from one that has it, if there is one.
case $PG_CONFIG in
    "$servers"/*)
        for version in $supported; do
            if [ -z "${SOURCE_PG:-}${SOURCE_PG_CONFIG:-}" ] && [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
                SOURCE_PG_CONFIG=/usr/lib/postgresql/$version/bin/pg_config
            fi
        done
        ;;
esac

# Every story starts clusters of its own from the template and removes them; small WAL files make that quick, and so does memory: a file system
# may look long for room among files that were removed just now.
free() { awk '/^MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo; }
if [ -w /dev/shm ] && [ "$(free)" -ge 12 ] && [ "$(df --output=avail -BG /dev/shm | tail -n 1 | tr -dc 0-9)" -ge 8 ] \
    && ! findmnt -no OPTIONS /dev/shm 2>/dev/null | grep -q noexec; then
    ground_below=/dev/shm
fi
. "$here/support/ground.sh" --debug --wal-segsize 4 -N
# The first versions, to be upgraded from.
cp sql/released/*.sql "$("$bin/pg_config" --sharedir)/extension/"
echo "target: $("$bin/postgres" --version), source: $("${CGPSYNC_TEST_SOURCE_BIN:-$bin}/postgres" --version)"

# Who chooses stories has the pure ones already.
[ $# -gt 0 ] || cargo test --lib --no-default-features --features "pg$PG"
tests/support/stories.sh "$@"
