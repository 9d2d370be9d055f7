#!/usr/bin/env bash
# Runs every test: the pure ones, then the stories on real clusters. Arguments go to the stories' test binary, for example
# `tests/run.sh cancel` for those with "cancel" in their name.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh" tests
. "$here/support/env.sh"
cd "$root"

dir=$(mktemp -d /tmp/cgpsync-test.XXXXXX)
trap 'rm -rf "$dir"' EXIT
bin=$("$here/support/prefix.sh" "$dir/prefix" --debug)

# PostgreSQL refuses to run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
    user=nobody
    id postgres >/dev/null 2>&1 && user=postgres
    as_user=(runuser -u "$user" --)
    chown "$user" "$dir"
    export CGPSYNC_TEST_UID=$(id -u "$user") CGPSYNC_TEST_GID=$(id -g "$user")
fi
chmod 755 "$dir"

# Every story starts clusters of its own from this copy.
echo secret >"$dir/password"
chmod 644 "$dir/password"
"${as_user[@]}" "$bin/initdb" -D "$dir/template" -U postgres --pwfile "$dir/password" --auth-local trust \
    --auth-host scram-sha-256 --encoding UTF8 --locale C.UTF-8 --wal-segsize 4 -N >/dev/null

features="pg$PG"
cargo test --lib --no-default-features --features "$features"
CGPSYNC_TEST_BIN=$bin CGPSYNC_TEST_DIR=$dir \
    cargo test --test stories --no-default-features --features "$features stories" -- "$@"
