# PG=18 or PG_CONFIG=/path/to/pg_config choose the server, 15 before others otherwise; SOURCE_PG or SOURCE_PG_CONFIG that of the tests' sources.
SHELL := bash
.PHONY: demo test test-greenplum test-opengauss bench bench-greenplum faults property fuzz package test-package lint install clean
.DEFAULT_GOAL := test
export PG PG_CONFIG SOURCE_PG SOURCE_PG_CONFIG SOURCE_GP TARGET_GP SOURCE_OG KEEP TARGET FUZZ_SECONDS FOR SEED CASES ALL SETS WAYS ROUNDS SCALE PARALLELISM RESULTS ROWS LEAVES

# Two throwaway clusters, a first sync, a second one. KEEP=1 leaves them running to play with; TARGET=remote has three: the target has no extension.
demo:
	@tests/demo/demo.sh

# Every test. ARGS go to the stories, e.g. make test ARGS=cancel
test:
	@tests/run.sh $(ARGS)

# The stories between two real Greenplum clusters: SOURCE_GP='host=… port=… user=… dbname=…' TARGET_GP='…'. What they make there they remove.
test-greenplum:
	@tests/greenplum.sh $(ARGS)

# The stories from a real openGauss or GaussDB: SOURCE_OG='host=… port=… user=… password=… dbname=…'. What they make there they remove.
test-opengauss:
	@tests/opengauss.sh $(ARGS)

# How fast, beside the other ways: throwaway clusters, a release build, under ten minutes. SCALE=1 is the full size, RESULTS=FILE
# writes what it prints to a file. SETS, WAYS, ROUNDS, PARALLELISM: see tests/README.md.
bench:
	@tests/bench.sh

# Hundreds of rounds of killed processes, broken networks and the like, with a table at the end; half an hour.
# SEED, KILLS and ROUNDS: see the script.
faults:
	@tests/faults.sh

# How fast between two real Greenplum clusters, beside psql in pipes. ROWS, LEAVES, ROUNDS, PARALLELISM: see the script.
bench-greenplum:
	@tests/bench_greenplum.sh

# Random schemas, rows and calls against a plain model: FOR (600) seconds. SEED, CASES and ALL: see
# the script.
property:
	@tests/property.sh

# Wild input for whatever reads bytes or text from outside: FUZZ_SECONDS (60) for each kind.
fuzz:
	@tests/fuzz.sh $(ARGS)

# dist/: sources for PGXN, a tarball of what is built, and a .deb where the server is a distribution's.
package:
	@.ci/package

# Builds them and uses them.
test-package:
	@tests/package.sh

lint:
	@tests/lint.sh

# Builds a release and puts it into the directories of the server.
install:
	@tests/support/setup.sh
	@. tests/support/env.sh && sudo= && if [ ! -w "$$("$$PG_CONFIG" --pkglibdir)" ]; then sudo=--sudo; fi && \
		cargo pgrx install $$sudo --release --pg-config "$$PG_CONFIG" --no-default-features --features "pg$$PG"

clean:
	cargo clean
