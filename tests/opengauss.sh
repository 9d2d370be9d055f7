#!/usr/bin/env bash
# The stories from a real openGauss or GaussDB, which SOURCE_OG leads to as libpq writes it ('host=… port=… user=… password=… dbname=…'), and a throwaway
# PostgreSQL with the extension. All they make there is in schemas that begin with cgpsync_test_, and roles that do, and each story removes its own, those
# of an earlier run as well. The role must be allowed to create schemas; where it may not create roles, one story does with less. Arguments
# choose stories.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "${SOURCE_OG:-}" ]; then
    echo "usage: make test-opengauss SOURCE_OG='host=… port=… user=… password=… dbname=…'" >&2
    exit 2
fi
export CGPSYNC_SOURCE_OG=$SOURCE_OG
"$here/support/setup.sh" tests
. "$here/support/env.sh"
cd "$root"
. "$here/support/ground.sh" --debug --wal-segsize 4 -N
trap leave_ground EXIT

# Two at a time: the server is somebody's. What fails has failed.
export RUST_TEST_THREADS=2 STORIES_AGAIN=0
tests/support/stories.sh --ignored "${@:-opengauss::}"
