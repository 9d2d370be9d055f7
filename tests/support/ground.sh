# shellcheck shell=bash
# Sourced after env.sh, with the profile for cargo-pgrx (--debug, or an empty word for a release) and initdb's options: makes $dir with a
# private installation in $bin and the template of a cluster, where CGPSYNC_TEST_DIR and CGPSYNC_TEST_BIN point to. Removes all of it at
# the end, with whatever server may still run in it. SOURCE_PG or SOURCE_PG_CONFIG choose another server for the sources, which then has a template
# of its own; CGPSYNC_TEST_SOURCE_BIN says where its commands are. $ground_below is another place than /tmp.

profile=$1
shift
dir=$(mktemp -d "${ground_below:-/tmp}/cgpsync-test.XXXXXX")

. "$root/tests/support/servers.sh"
leave_ground() {
    local place pid
    # Who is still at work here, if this script is ended alone; servers are told to end below.
    for place in $(grep -lzsxF "CGPSYNC_TEST_DIR=$dir" /proc/[0-9]*/environ); do
        pid=${place//[^0-9]/}
        is_process "$pid" postgres || kill -KILL "$pid" 2>/dev/null || true
    done
    # A test that was killed leaves its servers behind.
    for place in "$dir"/story*/ "$dir"; do
        remove_ground "$place"
    done
}
trap leave_ground EXIT

# shellcheck disable=SC2086 # no profile is no argument
bin=$("$root/tests/support/prefix.sh" "$dir/prefix" $profile)

# PostgreSQL refuses to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
    user=nobody
    id postgres >/dev/null 2>&1 && user=postgres
    as_user=(runuser -u "$user" --)
    chown "$user" "$dir"
    CGPSYNC_TEST_UID=$(id -u "$user")
    CGPSYNC_TEST_GID=$(id -g "$user")
    export CGPSYNC_TEST_UID CGPSYNC_TEST_GID
fi
chmod 755 "$dir"

echo secret >"$dir/password"
chmod 644 "$dir/password"

# template BIN DIRECTORY OPTION...
template() {
    local bin=$1 to=$2
    shift 2
    "${as_user[@]}" "$bin/initdb" -D "$to" -U postgres --pwfile "$dir/password" --auth-local trust \
        --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 "$@" >/dev/null
}
template "$bin" "$dir/template" "$@"
export CGPSYNC_TEST_BIN=$bin CGPSYNC_TEST_DIR=$dir

if [ -n "${SOURCE_PG:-}${SOURCE_PG_CONFIG:-}" ]; then
    PG=${SOURCE_PG:-} PG_CONFIG=${SOURCE_PG_CONFIG:-} "$root/tests/support/setup.sh" server
    CGPSYNC_TEST_SOURCE_BIN=$(PG=${SOURCE_PG:-} PG_CONFIG=${SOURCE_PG_CONFIG:-} "$root/tests/support/prefix.sh" "$dir/source" --bare)
    export CGPSYNC_TEST_SOURCE_BIN
    template "$CGPSYNC_TEST_SOURCE_BIN" "$dir/template-source" "$@"
fi
