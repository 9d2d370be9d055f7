#!/usr/bin/env bash
# Builds the packages, and uses what is in them: the .deb is installed with dpkg into a private copy of the server, stories run on it, and it is
# removed without a trace. Needs a server of Debian's or a relative's.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/support/setup.sh" tests
. "$here/support/env.sh"
cd "$root"
rm -rf dist
.ci/package
version=$(cgpsync_version)

. "$here/support/ground.sh" --deb --wal-segsize 4 -N
cp sql/released/*.sql "$("$bin/pg_config" --sharedir)/extension/"
tests/support/stories.sh first_sync:: state:: upgrade:: resume::
for file in sql/released/*.sql; do
    rm "$("$bin/pg_config" --sharedir)/extension/${file##*/}"
done

fail() {
    echo "package: $*" >&2
    exit 1
}

# Both packages hold the same files, and all of them.
package=postgresql-$PG-cgpsync
mkdir "$dir/tar" "$dir/files"
tar -C "$dir/tar" -xzf "dist/cgpsync-$version-pg$PG-$(uname -m).tar.gz"
dpkg-deb --extract dist/"$package"_*.deb "$dir/files"
cmp "$dir"/tar/*/lib/cgpsync.so "$dir/files$("$PG_CONFIG" --pkglibdir)/cgpsync.so"
diff -r "$dir"/tar/*/extension "$dir/files$("$PG_CONFIG" --sharedir)/extension"
for file in cgpsync.control "cgpsync--$version.sql" $(cd sql && ls cgpsync--*--*.sql); do
    [ -s "$dir/files$("$PG_CONFIG" --sharedir)/extension/$file" ] || fail "$file is missing"
done
[ "$(dpkg-deb --field dist/"$package"_*.deb Version)" = "$version-1" ] || fail "the version is not Cargo.toml's"
python3 -m zipfile -l "dist/cgpsync-$version.zip" | grep "^cgpsync-$version/META.json " >/dev/null || fail "the sources are not as PGXN takes them"

PATH=$PATH:/usr/sbin:/sbin dpkg --root="$dir/prefix" --force-not-root --remove "$package" >/dev/null
[ -z "$(find "$dir/prefix" -name '*cgpsync*' -not -path '*/var/lib/dpkg/*')" ] || fail "something stays behind: $(find "$dir/prefix" -name '*cgpsync*')"
echo "package: installed, used and removed"
