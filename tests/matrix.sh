#!/usr/bin/env bash
# Versions against each other: the stories of what is copied, and how it is replaced, with servers of different versions as source and target.
# PAIRS lists target:source by major version, or by path of a pg_config; FILTERS the stories. Prints a table at the end; fails if a story did.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
PAIRS=${PAIRS:-15:15 15:16 15:17 15:18 16:15 16:16 18:15 18:18}
FILTERS=${FILTERS:-first_sync:: types:: conversions:: columns:: keys:: resume:: partitioning:: missing:: creation:: create_table:: verify:: verify_types:: verify_changes:: verify_apart:: swap_kinds:: swap_readers:: team:: sources::}
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
result=0

# choose WORD: the variables of one side.
choose() {
    case $2 in
        */*) echo "$1PG_CONFIG=$2 $1PG=" ;;
        *) echo "$1PG=$2 $1PG_CONFIG=" ;;
    esac
}

for pair in $PAIRS; do
    target=${pair%%:*}
    source=${pair#*:}
    log=$logs/log
    # shellcheck disable=SC2046,SC2086 # words
    env $(choose "" "$target") $(choose SOURCE_ "$source") "$here/run.sh" $FILTERS >"$log" 2>&1 || result=1
    versions=$(sed -n 's/^target: postgres (PostgreSQL) \([0-9.a-z]*\).*source: postgres (PostgreSQL) \([0-9.a-z]*\).*/\1 | \2/p' "$log")
    counts=$(sed -n '/Running tests.stories/,$s/^test result: [a-zA-Z]*\. \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 | \2/p' "$log" | tail -n 1)
    left_out=$(sed -n '/^stories that were left out/,/^$/p' "$log" | sed '/^$/d' | tail -n +2 | cut -d: -f1-3 | sort -u | wc -l)
    echo "${versions:-$target | $source} | ${counts:-not run | } | $left_out" | tee -a "$logs/table"
    if ! grep -q '^test result: ok' "$log" || grep -q '^test result: FAILED' "$log"; then
        grep -E '^(test .*FAILED|error|setup:)' "$log" | head -n 20 >&2
        [ -z "${MATRIX_LOGS:-}" ] || cp "$log" "$MATRIX_LOGS/$(echo "$pair" | tr '/:' '__').log"
    fi
done
echo
echo "| target | source | passed | failed | left out, in part or whole |"
echo "| --- | --- | --- | --- | --- |"
sed 's/^/| /; s/$/ |/' "$logs/table"
exit $result
