#!/usr/bin/env bash
# Runs every test: the pure ones, then the stories on real clusters. Arguments go to the stories' test binary, for example
# `tests/run.sh cancel` for those with "cancel" in their name.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh" tests
. "$here/support/env.sh"
cd "$root"

# Every story starts clusters of its own from the template; small WAL files make that quick.
. "$here/support/ground.sh" --debug --wal-segsize 4 -N

features="pg$PG"
cargo test --lib --no-default-features --features "$features"
cargo test --test stories --no-default-features --features "$features stories" -- "$@"
