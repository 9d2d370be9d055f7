#!/usr/bin/env bash
# Formatting, lints, documentation, and what deny.toml asks of the dependencies; every warning is an error. `lint.sh all` looks at the code as it is
# for each version of PostgreSQL, too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh" lint
. "$here/support/env.sh"
cd "$root"
features=(--no-default-features --features "pg$PG stories")
cargo fmt --check
cargo clippy --quiet --all-targets "${features[@]}" -- -D warnings
if [ "${1:-}" = all ]; then
    # Whoever builds some of them anyway names the others.
    for version in ${LINT_VERSIONS:-$supported}; do
        [ "$version" != "$PG" ] || continue
        echo "lint: as for PostgreSQL $version"
        # No headers are needed: pgrx has bindings to every version's, for its documentation.
        DOCS_RS=1 CARGO_TARGET_DIR=target/versions RUSTC_WRAPPER=$here/support/rustc-as-documented.sh \
            cargo clippy --quiet --lib --no-default-features --features "pg$version" -- -D warnings
    done
fi
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items "${features[@]}"
# The fence: the compiler denies unsafe code, and only the fence's own module may allow it.
if grep -rn 'allow(unsafe_code)' src | grep -v '^src/pg/mod.rs:'; then
    echo "unsafe code is allowed outside src/pg" >&2
    exit 1
fi
# The drawing in ARCHITECTURE.md, an arrow a line; its arrows point to lines below, so there is no circle among folders.
drawn=$(sed -n '/^## Who calls whom/,/^| module/p' ARCHITECTURE.md | awk '/─►/ { gsub(",", ""); for (i = 3; i <= NF; i++) print $1, $i }' | sort)
# shellcheck disable=SC2046 # names without spaces
arrows() { awk -v level="$1" -f "$here/support/arrows.awk" $(find src -name '*.rs' | sort) | sort; }
if ! diff <(echo "$drawn") <(arrows 1 | grep -vE ' (error|row)$') >&2; then
    echo "ARCHITECTURE.md draws other arrows (<) than the code has (>)" >&2
    exit 1
fi
for level in 1 2 3 4; do
    if ! arrows "$level" | tsort >/dev/null; then
        echo "modules use each other in a circle" >&2
        exit 1
    fi
done
# Files over 400 lines and functions over 70 are cut where a reader would cut them; tests stand at a file's end.
long=$(find src -name '*.rs' ! -path 'src/fuzz/*' ! -name tests.rs -print0 | xargs -0 awk -f "$here/support/long.awk")
if [ -n "$long" ]; then
    echo "$long" >&2
    exit 1
fi
twice=$(find src -name '*.rs' ! -name mod.rs ! -name tests.rs ! -path 'src/fuzz/*' -printf '%f\n' | sort | uniq -d)
if [ -n "$twice" ]; then
    echo "files of one name: $twice" >&2
    exit 1
fi
# A story is read by itself: what several need is in tests/support.
if grep -nE '\b(crate|super)::' tests/stories/*.rs | grep -vE 'crate::(support|error|plan)\b' ||
    grep -rnE '\bcrate::|\bsuper::super::' tests/stories/*/ | grep -vE 'crate::(support|error|plan)\b'; then
    echo "a story imports another one" >&2
    exit 1
fi
# The version is Cargo.toml's; PGXN wants it twice in META.json, and a database that has an earlier one wants a way from there.
version=$(cgpsync_version)
if [ "$(grep -c "\"version\": \"$version\"" META.json)" != 2 ] || ! grep -q "^## $version" CHANGELOG.md; then
    echo "META.json or CHANGELOG.md is not of version $version" >&2
    exit 1
fi
# Versions that scripts lead from to this one, in as many steps as it takes.
led=" $version "
while :; do
    before=$led
    for script in sql/cgpsync--*--*.sql; do
        IFS=' ' read -r from to <<<"$(basename "$script" .sql | sed 's/^cgpsync--//; s/--/ /')"
        if [[ $led == *" $to "* && $led != *" $from "* ]]; then
            led+="$from "
        fi
    done
    [ "$led" != "$before" ] || break
done
for script in sql/released/cgpsync--*.sql; do
    released=$(basename "$script" .sql)
    if [[ $led != *" ${released#cgpsync--} "* ]]; then
        echo "no scripts in sql/ lead from ${released#cgpsync--} to $version" >&2
        exit 1
    fi
done
cargo deny --log-level error --offline --locked check --hide-inclusion-graph bans licenses sources
# The advisories come from the network, which not every machine has; those fetched before do as well.
if cargo deny --log-level off fetch db 2>/dev/null || compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*/crates" >/dev/null; then
    cargo deny --log-level error --offline --locked check --hide-inclusion-graph advisories
else
    echo "lint: the advisory database cannot be reached: advisories are not checked" >&2
fi
echo "lint: clean"
