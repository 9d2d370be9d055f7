#!/usr/bin/env bash
# Input that nobody would write, for everything that reads bytes or text of a source's or a file's making (src/fuzz.rs): for FUZZ_SECONDS each,
# 60 unless set, as many at a time as there are processors. Arguments choose by name, for example `tests/fuzz.sh fuzz::wire`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh"
. "$here/support/env.sh"
cd "$root"
FUZZ_SECONDS=${FUZZ_SECONDS:-60} cargo test --lib --no-default-features --features "pg$PG" -- --nocapture "${@:-fuzz::}" \
    | grep -v '^test .* ok$'
