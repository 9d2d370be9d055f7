#!/usr/bin/env bash
# The invariant as a property for as long as wanted: FOR seconds, ten minutes unless set. SEED is
# where the seeds begin, the clock unless set; CASES is how many at most; ALL=1 goes on after a
# violation and collects kinds of them. PROPERTY_REMOTE: see tests/README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PROPERTY_SECONDS=${FOR:-600} PROPERTY_SEED=${SEED:-$(date +%s)}
[ -z "${CASES:-}" ] || export PROPERTY_CASES=$CASES
[ -z "${ALL:-}" ] || export PROPERTY_ALL=$ALL
# A story's limit is for `make test`, and so is its second chance.
export STORY_SECONDS=${STORY_SECONDS:-$((PROPERTY_SECONDS + 120))} STORIES_AGAIN=0
"$here/run.sh" property:: --nocapture
