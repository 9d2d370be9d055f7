//! The functions that take the arguments of a run: to do it, as a procedure too, to begin it, to look at it. Here the arguments stand once, in the macro; SQL
//! has them in each declaration.

use crate::error::{Error, Result};
use crate::pg::procedure::Procedure;
use crate::pg::report;
use crate::run::request::Call;
use crate::run::state::rows::UnitResult;
use crate::run::{caller, preview};
use pgrx::iter::TableIterator;
use pgrx::{name, pg_extern, pg_sys};
use std::ffi::CStr;

/// A function of SQL that takes them: its declaration, its name, what it gives, and what it does with the call.
macro_rules! call {
    ($sql:tt, $name:ident, |$call:ident $(, $context:ident)?| { $($result:tt)* } $body:block) => {
        #[pg_extern(sql = $sql)]
        #[allow(clippy::type_complexity, clippy::too_many_arguments)] // pgrx reads names of columns and arguments from the signature
        fn $name(
            table_name: Option<pg_sys::Oid>,
            end_tm: Option<String>,
            parallelism: Option<i32>,
            source: Option<&CStr>,
            since: Option<String>,
            source_table: Option<String>,
            create_missing: Option<bool>,
            columns: Option<Vec<Option<String>>>,
            replace: Option<String>,
            vanished: Option<String>,
            strict: Option<bool>,
            $($context: pg_sys::FunctionCallInfo,)?
        ) $($result)* {
            let Some(table) = table_name else {
                report::raise(Error::bad_parameter("table_name must not be null"));
            };
            let default = Call::of(table.to_u32());
            let $call = Call {
                table: default.table,
                end_tm,
                parallelism: parallelism.unwrap_or(default.parallelism),
                source: source.map(|s| s.to_string_lossy().into_owned()),
                since,
                source_table,
                create_missing: create_missing.unwrap_or(default.create_missing),
                columns,
                replace: replace.unwrap_or(default.replace),
                vanished: vanished.unwrap_or(default.vanished),
                strict: strict.unwrap_or(default.strict),
            };
            $body
        }
    };
}

type UnitRow = (String, String, Option<i64>, Option<i64>, Option<f64>, Option<String>);

/// A unit as SQL gives it.
pub fn unit_row(unit: UnitResult) -> UnitRow {
    (
        unit.partition,
        unit.state.name().to_owned(),
        unit.rows,
        unit.bytes,
        unit.seconds,
        unit.message,
    )
}

call!(
    r#"
CREATE FUNCTION cgpsync_sync(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
RETURNS TABLE(partition text, status text, rows bigint, bytes bigint, seconds float8, message text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#,
    cgpsync_sync_v3,
    |call| {
        -> TableIterator<
            'static,
            (
                name!(partition, String),
                name!(status, String),
                name!(rows, Option<i64>),
                name!(bytes, Option<i64>),
                name!(seconds, Option<f64>),
                name!(message, Option<String>),
            ),
        >
    }
    {
        let units = caller::sync(call).unwrap_or_else(|error| report::raise(error));
        TableIterator::new(units.into_iter().map(unit_row))
    }
);

// No SET clause: with one, a procedure may not commit.
call!(
    r#"
CREATE PROCEDURE cgpsync(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#,
    cgpsync_call,
    |call, context| {}
    {
        let run = || {
            let procedure = Procedure::begin(context)?;
            caller::sync_in_procedure(call, &procedure)?;
            procedure.end();
            Ok(())
        };
        let result: Result<()> = run();
        result.unwrap_or_else(|error| report::raise(error));
    }
);

call!(
    r#"
CREATE FUNCTION cgpsync_start(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#,
    cgpsync_start_v3,
    |call| { -> i64 }
    {
        let run_id = caller::start(call);
        run_id.unwrap_or_else(|error| report::raise(error))
    }
);

call!(
    r#"
CREATE FUNCTION cgpsync_plan(
    table_name regclass,
    end_tm text DEFAULT NULL,
    parallelism int DEFAULT 3,
    source name DEFAULT NULL,
    since text DEFAULT NULL,
    source_table text DEFAULT NULL,
    create_missing bool DEFAULT true,
    columns text[] DEFAULT NULL,
    replace text DEFAULT 'auto',
    vanished text DEFAULT 'keep',
    strict bool DEFAULT false)
RETURNS TABLE(partition text, action text, source_relation text, source_filter text, range_start text, range_end text,
              estimated_bytes bigint, format text, snapshot text, reason text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#,
    cgpsync_plan_v3,
    |call| {
        -> TableIterator<
            'static,
            (
                name!(partition, String),
                name!(action, String),
                name!(source_relation, Option<String>),
                name!(source_filter, Option<String>),
                name!(range_start, Option<String>),
                name!(range_end, Option<String>),
                name!(estimated_bytes, Option<i64>),
                name!(format, String),
                name!(snapshot, String),
                name!(reason, String),
            ),
        >
    }
    {
        let lines = preview::preview(call).unwrap_or_else(|error| report::raise(error));
        TableIterator::new(lines.into_iter().map(|line| {
            (
                line.partition,
                line.action.to_owned(),
                line.source_relation,
                line.source_filter,
                line.range_start,
                line.range_end,
                line.estimated_bytes,
                line.format.to_owned(),
                line.snapshot.to_owned(),
                line.reason,
            )
        }))
    }
);
