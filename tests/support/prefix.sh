#!/usr/bin/env bash
# prefix.sh DIR [--debug | --bare | --deb]: makes DIR a private installation of the server with cgpsync in it: a release, a debug build, none, or
# what `make package` has put into dist/. A PostgreSQL installation finds its files relative to its own binaries, so a copy needs no rights on the
# system's directories, and nothing of ours ends up there.
set -euo pipefail
. "$(dirname "$0")/env.sh"
prefix=$1
profile=${2:-}
mkdir -p "$prefix"

# Whatever lies below the common parent of binaries, libraries and shared files keeps its place relative to it.
bindir=$("$PG_CONFIG" --bindir)
directories=("$bindir" "$("$PG_CONFIG" --pkglibdir)" "$("$PG_CONFIG" --sharedir)")
case $bindir in
    # A Python package has shared libraries beside them.
    "$servers"/*) directories=("$servers/$PG") ;;
esac
for dir in "${directories[@]}"; do
    mkdir -p "$prefix$dir"
    cp -a "$dir/." "$prefix$dir/"
done

if [ "$profile" = --deb ]; then
    mkdir -p "$prefix/var/lib/dpkg/info" "$prefix/var/lib/dpkg/updates"
    touch "$prefix/var/lib/dpkg/status" "$prefix/var/lib/dpkg/available"
    # What it depends on is known to the system's dpkg, not to this one.
    PATH=$PATH:/usr/sbin:/sbin dpkg --root="$prefix" --force-depends --force-not-root --install "$root/dist/postgresql-$PG-cgpsync"_*.deb >"$prefix/package.log" 2>&1 \
        || { cat "$prefix/package.log" >&2; exit 1; }
elif [ "$profile" != --bare ]; then
    package=$prefix/package
    mkdir -p "$package"
    cd "$root"
    # shellcheck disable=SC2086 # no profile is no argument
    cargo pgrx package $profile --pg-config "$PG_CONFIG" --no-default-features --features "pg$PG" --out-dir "$package" \
        >"$prefix/package.log" 2>&1 || { cat "$prefix/package.log" >&2; exit 1; }
    cp -a "$package/." "$prefix/"
    rm -rf "$package"
fi
chmod -R a+rX "$prefix"
echo "$prefix$bindir"
