# shellcheck shell=bash
# Sourced by the other scripts: an end for what a test that was killed has left.

# is_process NUMBER WORD: whether the process runs with the word in its command line.
is_process() {
    { tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF -- "$2"; } 2>/dev/null
}

# stop_servers DIRECTORY: ends the servers with a data directory in it, whatever state they are in.
stop_servers() {
    local data pid child children
    for data in "${1%/}"/*/; do
        data=${data%/}
        pid=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || continue
        # The file may be older than the process that has this number now.
        is_process "$pid" "$data" || continue
        children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null) || children=
        kill -QUIT "$pid" 2>/dev/null || continue
        # One that is stopped cannot end.
        # shellcheck disable=SC2086 # a list
        kill -CONT "$pid" $children 2>/dev/null || true
        for _ in $(seq 200); do
            is_process "$pid" "$data" || break
            sleep 0.05
        done
        for child in "$pid" $children; do
            ! is_process "$child" postgres || kill -KILL "$child" 2>/dev/null || true
        done
    done
}

# remove_ground DIRECTORY: its servers and file systems, too. What cannot be removed does not make a
# test fail.
remove_ground() {
    local place
    stop_servers "$1"
    while read -r _ place _; do
        [[ $place != "${1%/}"/* ]] || umount -l "$place" || true
    done </proc/mounts
    # Once more if somebody was still writing.
    rm -rf "$1" 2>/dev/null || rm -rf "$1" || true
}
