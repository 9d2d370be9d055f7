# shellcheck shell=bash
# Sourced by the other scripts: which server is used, and where cargo-pgrx keeps its configuration.
# Chosen by PG_CONFIG (a path) or PG (a major version); without them the newest installed server that has its headers,
# 15 first, then whatever the distribution offers.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
supported="15 18 17 16 14 13"

if [ -z "${PG_CONFIG:-}" ]; then
    if [ -z "${PG:-}" ]; then
        for version in $supported; do
            if [ -d "/usr/include/postgresql/$version/server" ] && [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
                PG=$version
                break
            fi
        done
    fi
    if [ -z "${PG:-}" ] && command -v apt-cache >/dev/null; then
        PG=$( (apt-cache depends postgresql 2>/dev/null || true) | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
    fi
    PG=${PG:-15}
    PG_CONFIG=/usr/lib/postgresql/$PG/bin/pg_config
fi
if [ -x "$PG_CONFIG" ]; then
    PG=$("$PG_CONFIG" --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
fi

export PG PG_CONFIG
export PGRX_PG_CONFIG_PATH=$PG_CONFIG
export PGRX_HOME=$root/target/pgrx
# One set of compiled dependencies for cargo and cargo-pgrx; the schema section survives the linker without the workaround.
export CARGO_PGRX_DISABLE_GC_SECTIONS_WORKAROUND=1
# In a server's environment this one appends Rust frames to the DETAIL of errors.
unset RUST_BACKTRACE
export PATH="$HOME/.cargo/bin:$PATH"
