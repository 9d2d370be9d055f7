#!/bin/sh
# RUSTC_WRAPPER for tests/lint.sh: pgrx-pg-sys alone is told that it is documented, for which it brings its own bindings to every version.
case " $* " in
    *" --crate-name pgrx_pg_sys "*) exec "$@" --cfg docsrs ;;
    *) exec "$@" ;;
esac
