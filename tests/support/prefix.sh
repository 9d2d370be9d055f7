#!/usr/bin/env bash
# prefix.sh DIR [--debug]: makes DIR a private installation of the server with cgpsync in it. A PostgreSQL installation finds its files
# relative to its own binaries, so a copy needs no rights on the system's directories, and nothing of ours ends up there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
prefix=$1
profile=${2:-}

package=$prefix/package
mkdir -p "$package"
cd "$root"
# shellcheck disable=SC2086 # no profile is no argument
cargo pgrx package $profile --pg-config "$PG_CONFIG" --no-default-features --features "pg$PG" --out-dir "$package" \
    >"$prefix/package.log" 2>&1 || { cat "$prefix/package.log" >&2; exit 1; }

# Whatever lies below the common parent of binaries, libraries and shared files keeps its place relative to it.
bindir=$("$PG_CONFIG" --bindir)
libdir=$("$PG_CONFIG" --pkglibdir)
sharedir=$("$PG_CONFIG" --sharedir)
for dir in "$bindir" "$libdir" "$sharedir"; do
    mkdir -p "$prefix$dir"
    cp -a "$dir/." "$prefix$dir/"
done
cp -a "$package/." "$prefix/"
rm -rf "$package"
chmod -R a+rX "$prefix"
echo "$prefix$bindir"
