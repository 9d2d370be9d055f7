#!/usr/bin/env bash
# Formatting, lints and documentation; every warning is an error.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh"
. "$here/support/env.sh"
cd "$root"
features=(--no-default-features --features "pg$PG stories")
cargo fmt --check
cargo clippy --quiet --all-targets "${features[@]}" -- -D warnings
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --document-private-items "${features[@]}"
# The fence: the compiler denies unsafe code, and only the fence's own module may allow it.
if grep -rn 'allow(unsafe_code)' src | grep -v '^src/pg/mod.rs:'; then
    echo "unsafe code is allowed outside src/pg" >&2
    exit 1
fi
echo "lint: clean"
