#!/usr/bin/env bash
# stories.sh ARGUMENT...: builds the stories and runs those that libtest's arguments choose, each in
# a process and a directory of its own, so that none takes another one along. It is called on the
# ground that ground.sh makes, in the project's directory. A story over its time is ended, with its
# servers.
#
# A story that fails is run once more when all the others are over. At most STORIES_AGAIN (2) are,
# so that what is broken stays red. The output is libtest's, a line for each story and one at the
# end; before that stand the logs of those that failed, and under `flaky` those of a first time.
set -euo pipefail
self=$(readlink -f "${BASH_SOURCE[0]}")
. "${self%/*}/servers.sh"

# The one place for limits: how many seconds the story $1 may take. STORY_SECONDS is for all.
limit_of() {
    case ${STORY_SECONDS:+given}$1 in
        given*) echo "$STORY_SECONDS" ;;
        # Waits for the minutes of pg_cron's clock.
        cron::*) echo 300 ;;
        # Rounds, one after the other.
        faults_*) echo 600 ;;
        # Of clusters that are somebody's, and may be busy.
        greenplum::* | opengauss::*) echo 300 ;;
        *) echo 180 ;;
    esac
}

# What libtest says of a story that has a process of its own.
libtest='|running 1 test|failures:|    [a-z_0-9:]+|test .* \.\.\. (ok|FAILED)|test result: .*'

# run_one NUMBER NAME LOG: runs a story and says how it ended, as status: 0, or what timeout gives.
run_one() {
    local own=$CGPSYNC_TEST_DIR/story$1 name=$2 log=$3
    local status=0 interrupted='' limit child place began
    limit=$(limit_of "$name")
    began=$SECONDS
    mkdir "$own"
    [ -z "${CGPSYNC_TEST_UID:-}" ] || chown "$CGPSYNC_TEST_UID" "$own"
    # Two threads: with one, libtest would not name the thread. What is printed is not kept back, so
    # that the log of a story that is ended has it.
    if [ -n "$stories_shown" ]; then
        CGPSYNC_TEST_STORY=$own timeout -k 10 "$limit" \
            "$stories_binary" --exact "$name" --include-ignored --nocapture --test-threads 2 \
            > >(tee "$log" | grep --line-buffered -vxE "$libtest") 2>&1 &
    else
        CGPSYNC_TEST_STORY=$own timeout -k 10 "$limit" \
            "$stories_binary" --exact "$name" --include-ignored --nocapture --test-threads 2 >"$log" 2>&1 &
    fi
    child=$!
    trap 'interrupted=yes; kill "$child" 2>/dev/null || true' INT TERM HUP
    # The shell has something to say of signals, too.
    { wait "$child" || status=$?; } 2>/dev/null
    if [ -n "$interrupted" ]; then
        wait "$child" 2>/dev/null || true
        status=130
    elif [ "$status" != 0 ] && [ $((SECONDS - began)) -ge "$limit" ]; then
        {
            echo "the story is over its limit of $limit seconds and was ended"
            for place in "$own"/*.log; do
                [ -e "$place" ] || continue
                echo "log of ${place##*/}:"
                tail -n 25 "$place" | sed 's/^/  /'
            done
        } >>"$log"
    elif [ "$status" -gt 128 ]; then
        echo "its process was ended by signal $((status - 128))" >>"$log"
    fi
    trap - INT TERM HUP
    remove_ground "$own"
    return "$status"
}

# Called by xargs below, once for each story: NUMBER NAME.
if [ "${1:-}" = --one ]; then
    log=$stories_logs/$2
    status=0
    run_one "$2" "$3" "$log" || status=$?
    case $status in
        0)
            echo "$2 $3" >>"$stories_logs/passed"
            echo "test $3 ... ok"
            ;;
        # Ends xargs, too.
        130) exit 255 ;;
        *)
            echo "$2 $3" >>"$stories_logs/failed"
            echo "$3 failed"
            ;;
    esac
    exit 0
fi

stories_binary=$(cargo test --test stories --no-run --no-default-features \
    --features "pg$PG stories" --message-format json-render-diagnostics \
    | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
export stories_binary stories_shown='' stories_logs
# Stories wait more than they compute: one more than there are processors.
jobs=${RUST_TEST_THREADS:-$(($(nproc) + 1))}
chosen=() ignored=()
while [ $# -gt 0 ]; do
    case $1 in
        --nocapture | --no-capture | --show-output) stories_shown=yes ;;
        --ignored) ignored=(--ignored) ;;
        --test-threads) jobs=$2 && shift ;;
        --test-threads=*) jobs=${1#*=} ;;
        *) chosen+=("$1") ;;
    esac
    shift
done
# Those that are ignored need what most machines have not: they run if they are asked for, and are nothing to the others.
names() { "$stories_binary" --list --format terse "$@" | sed -n 's/: test$//p'; }
kind() { if [ ${#ignored[@]} -gt 0 ]; then names --ignored "$@"; else grep -vxFf <(names --ignored) <(names "$@") || true; fi; }
mapfile -t stories < <(kind "${chosen[@]}")
all=$(kind | wc -l)
stories_logs=$CGPSYNC_TEST_DIR/logs
rm -rf "$stories_logs"
mkdir "$stories_logs"
began=$EPOCHREALTIME

echo "     Running tests/stories"
echo
echo "running ${#stories[@]} tests"
if [ ${#stories[@]} -gt 0 ]; then
    for number in "${!stories[@]}"; do
        echo "$number ${stories[number]}"
    done | xargs -P "$jobs" -n 2 "$self" --one
fi

# What failed, in the order of its ends. The first ones get a second chance, alone.
flaky=() failed=()
touch "$stories_logs/passed" "$stories_logs/failed"
if [ "$(cat "$stories_logs/passed" "$stories_logs/failed" | wc -l)" != ${#stories[@]} ]; then
    echo "some stories have not been run" >&2
    exit 1
fi
mapfile -t first < <(head -n "${STORIES_AGAIN:-2}" "$stories_logs/failed")
for story in "${first[@]}"; do
    name=${story#* }
    status=0
    run_one "${story%% *}" "$name" "$stories_logs/again" || status=$?
    [ "$status" != 130 ] || exit 130
    if [ "$status" = 0 ]; then
        flaky+=("$story")
        echo "test $name ... ok"
    else
        failed+=("$story")
        echo "test $name ... FAILED"
    fi
done
mapfile -t others < <(tail -n "+$((${STORIES_AGAIN:-2} + 1))" "$stories_logs/failed")
for story in "${others[@]}"; do
    failed+=("$story")
    echo "test ${story#* } ... FAILED"
done

# show STORY: the log of its first time, without libtest's own lines.
show() {
    echo "${1#* }"
    grep -vxE "$libtest" "$stories_logs/${1%% *}" | sed 's/^/  /' || true
    echo
}
echo
if [ ${#failed[@]} -gt 0 ]; then
    echo failures
    for story in "${failed[@]}"; do
        show "$story"
    done
fi
if [ -e "$CGPSYNC_TEST_DIR/left-out" ]; then
    echo "stories that were left out, all of them or a part:"
    sort -u "$CGPSYNC_TEST_DIR/left-out"
    echo
fi
if [ ${#flaky[@]} -gt 0 ]; then
    echo flaky
    for story in "${flaky[@]}"; do
        show "$story"
    done
fi
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed: ${failed[*]#* }"
    verdict=FAILED
else
    verdict=ok
fi
took=$(awk "BEGIN { printf \"%.2f\", $EPOCHREALTIME - $began }")
echo "test result: $verdict. $((${#stories[@]} - ${#failed[@]})) passed; ${#failed[@]} failed;" \
    "0 ignored; 0 measured; $((all - ${#stories[@]})) filtered out; finished in ${took}s"
[ "$verdict" = ok ]
