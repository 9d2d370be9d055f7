#!/usr/bin/env bash
# The long mode of the stories of faults: many rounds of each, then a table of what they found. SEED repeats the moments of an earlier
# time (not the exact interleaving: two servers run as they like); KILLS and ROUNDS say how many rounds of killed processes and of
# each other fault; SECONDS_OF_LOCKS how long everybody works at once. Fails if anything but zeroes is in the table.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export FAULTS_SEED=${SEED:-$(date +%s)} FAULTS_KILLS=${KILLS:-200} FAULTS_ROUNDS=${ROUNDS:-42} FAULTS_LOCK_SECONDS=${SECONDS_OF_LOCKS:-60}
FAULTS_TABLE=$(mktemp)
export FAULTS_TABLE
# Rounds take as long as they take, and no fault has a second chance.
export STORY_SECONDS=${STORY_SECONDS:-7200} STORIES_AGAIN=0
trap 'rm -f "$FAULTS_TABLE"' EXIT

"$here/run.sh" faults_kill:: faults_network:: faults_source:: faults_target:: faults_locks:: faults_beside:: \
    faults_elsewhere:: --nocapture
result=$?
echo
echo "seed $FAULTS_SEED; lost: a finished partition forgotten, or sync_table moved without its rows; hung: a deadline passed; wrong: rows"
echo "that are neither the old ones nor the new ones, or a history or an error that is not true; the last column is no fault of anybody"
{
    echo "fault|rounds|lost|hung|wrong|calls that failed"
    sort "$FAULTS_TABLE"
    awk -F'|' '{ for (i = 2; i <= 6; i++) sum[i] += $i } END { print "all|" sum[2] "|" sum[3] "|" sum[4] "|" sum[5] "|" sum[6] }' "$FAULTS_TABLE"
} | sed 's/|/ | /g' | column -t -s'|' -o'|' 2>/dev/null || cat "$FAULTS_TABLE"
exit $result
