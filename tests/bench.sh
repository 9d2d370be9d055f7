#!/usr/bin/env bash
# Measures cgpsync beside the other ways to replace a partition's rows by another cluster's, on throwaway clusters
# with a release build. SETS, WAYS, ROUNDS, SCALE, PARALLELISM and RESULTS: see tests/README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh" bench
. "$here/support/env.sh"
cd "$root"
. "$here/support/ground.sh" "" -N
BENCH_COMMIT=$(git describe --always --dirty 2>/dev/null || echo unknown)
export BENCH_COMMIT

# A process group of its own, so that a signal reaches the tools and servers whichever way it comes.
set -m
cargo bench --quiet --bench ways --no-default-features --features "pg$PG" &
job=$!
set +m
trap 'kill -INT -- "-$job" 2>/dev/null; wait "$job" 2>/dev/null; exit 130' INT TERM HUP
wait "$job"
