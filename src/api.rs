//! Every function SQL can call: takes arguments, calls inward, raises errors. Nothing imports this module. The SQL declarations stand
//! here in full, so that types, defaults and search_path are read where the code is.

use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::import;
use crate::pg::{backend, partition, report};
use crate::run::attach::attach;
use crate::run::create_table::create_table;
use crate::run::request::Call;
use crate::run::verify::{self, Figures, Method};
use crate::run::{caller, progress};
use crate::wire::endpoint::{self, Place};
use calls::unit_row;
use pgrx::datum::Interval;
use pgrx::iter::{SetOfIterator, TableIterator};
use pgrx::{AnyNumeric, JsonB, name, pg_extern, pg_sys};
use std::ffi::CStr;
use std::time::Duration;

mod calls;
mod outdated;

/// Longest timeout of cgpsync_wait, a century: what is longer overflows somewhere.
const MAX_TIMEOUT_US: i128 = 100 * 366 * 86_400 * 1_000_000;

// A search_path of their own keeps the functions' SQL away from objects in the caller's. A function that changes its arguments changes its name
// here, and the old one goes to `outdated`.

#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_wait(run_id bigint, timeout interval DEFAULT NULL)
RETURNS TABLE(partition text, status text, rows bigint, bytes bigint, seconds float8, message text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
#[allow(clippy::type_complexity)] // as above
fn cgpsync_wait_v2(
    run_id: Option<i64>,
    timeout: Option<Interval>,
) -> TableIterator<
    'static,
    (
        name!(partition, String),
        name!(status, String),
        name!(rows, Option<i64>),
        name!(bytes, Option<i64>),
        name!(seconds, Option<f64>),
        name!(message, Option<String>),
    ),
> {
    let timeout = timeout.map(|timeout| {
        let micros = timeout.as_micros();
        Duration::from_micros(micros.clamp(0, MAX_TIMEOUT_US) as u64)
    });
    let units = caller::wait(run_number(run_id), timeout).unwrap_or_else(|error| report::raise(error));
    TableIterator::new(units.into_iter().map(unit_row))
}

#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_cancel(run_id bigint) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cgpsync_cancel(run_id: Option<i64>) -> bool {
    caller::cancel(run_number(run_id)).unwrap_or_else(|error| report::raise(error))
}

fn run_number(run_id: Option<i64>) -> i64 {
    run_id.unwrap_or_else(|| report::raise(Error::bad_parameter("run_id must not be null")))
}

#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_prune(older_than interval DEFAULT '90 days') RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cgpsync_prune(older_than: Option<Interval>) -> i64 {
    let Some(older_than) = older_than else {
        report::raise(Error::bad_parameter("older_than must not be null"));
    };
    let text = format!(
        "{} months {} days {} microseconds",
        older_than.months(),
        older_than.days(),
        older_than.micros()
    );
    caller::prune(&text).unwrap_or_else(|error| report::raise(error))
}

// Runs as whoever reads cgpsync_progress, and shows only runs which that role may see. The first row is the run's, the others its units'.
#[pg_extern(sql = r#"
CREATE FUNCTION _cgpsync_live(run_id bigint)
RETURNS TABLE(unit int, rows bigint, bytes bigint, percent float8, bytes_per_second float8, seconds_left float8)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
#[allow(clippy::type_complexity)] // as above
fn _cgpsync_live(
    run_id: i64,
) -> TableIterator<
    'static,
    (
        name!(unit, Option<i32>),
        name!(rows, i64),
        name!(bytes, i64),
        name!(percent, Option<f64>),
        name!(bytes_per_second, Option<f64>),
        name!(seconds_left, Option<f64>),
    ),
> {
    let figures = progress::figures(run_id).unwrap_or_else(|error| report::raise(error));
    TableIterator::new(figures.into_iter().flat_map(|(run, units)| {
        let total = (
            None,
            run.rows as i64,
            run.bytes as i64,
            Some(run.percent),
            Some(run.rate),
            run.left,
        );
        let units = units.into_iter().enumerate();
        let units = units.map(|(at, unit)| {
            (
                Some(at as i32 + 1),
                unit.rows as i64,
                unit.bytes as i64,
                None,
                None,
                None,
            )
        });
        std::iter::once(total).chain(units)
    }))
}

// Values that are compared as they print must print alike on both sides, policies must not hide rows, compiling the long expressions
// of a checksum costs more than it gains, and sync_table is looked up by a name without quotes that it does not need: hence the settings.
#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_verify(
    table_name regclass,
    end_tm text DEFAULT NULL,
    since text DEFAULT NULL,
    source name DEFAULT NULL,
    source_table text DEFAULT NULL,
    method text DEFAULT 'count',
    parallelism int DEFAULT 3)
RETURNS TABLE(partition text, matches boolean, source_rows bigint, target_rows bigint, source_checksum numeric,
              target_checksum numeric, source_relation text, source_filter text, error text)
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 3 SET bytea_output = 'hex' SET TimeZone = 'UTC' SET row_security = off SET jit = off
SET standard_conforming_strings = on SET quote_all_identifiers = off SET array_nulls = on
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
#[allow(clippy::type_complexity)] // pgrx reads the columns' names from the signature
fn cgpsync_verify_v2(
    table_name: Option<pg_sys::Oid>,
    end_tm: Option<String>,
    since: Option<String>,
    source: Option<&CStr>,
    source_table: Option<String>,
    method: Option<String>,
    parallelism: Option<i32>,
) -> TableIterator<
    'static,
    (
        name!(partition, Option<String>),
        name!(matches, Option<bool>),
        name!(source_rows, Option<i64>),
        name!(target_rows, Option<i64>),
        name!(source_checksum, Option<AnyNumeric>),
        name!(target_checksum, Option<AnyNumeric>),
        name!(source_relation, Option<String>),
        name!(source_filter, Option<String>),
        name!(error, Option<String>),
    ),
> {
    let Some(table) = table_name else {
        report::raise(Error::bad_parameter("table_name must not be null"));
    };
    let call = Call {
        end_tm,
        since,
        source: source.map(|s| s.to_string_lossy().into_owned()),
        source_table,
        parallelism: parallelism.unwrap_or(3),
        ..Call::of(table.to_u32())
    };
    let units = Method::parse(method.as_deref().unwrap_or("count"))
        .and_then(|method| verify::verify(call, method))
        .unwrap_or_else(|error| report::raise(error));
    // Both servers print the sum of whole numbers alike.
    let number = |figures: Option<Figures>| {
        let text = figures?.checksum?;
        AnyNumeric::try_from(text.as_str()).ok()
    };
    TableIterator::new(units.into_iter().map(move |unit| {
        (
            unit.partition,
            unit.matches,
            unit.there.as_ref().map(|there| there.rows),
            unit.here.as_ref().map(|here| here.rows),
            number(unit.there),
            number(unit.here),
            unit.source_relation,
            unit.source_filter,
            unit.error,
        )
    }))
}

// The settings that the text of bounds, defaults and constraints is read by, and the one that names in sync_table are written by.
#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_create_table(source_table text, target_table text DEFAULT NULL, source name DEFAULT NULL, target name DEFAULT NULL)
RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET standard_conforming_strings = on SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET quote_all_identifiers = off SET transform_null_equals = off
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cgpsync_create_table_v2(
    source_table: Option<String>,
    target_table: Option<String>,
    source: Option<&CStr>,
    target: Option<&CStr>,
) -> pg_sys::Oid {
    let Some(source_table) = source_table else {
        report::raise(Error::bad_parameter("source_table must not be null"));
    };
    let source = source.map(|s| s.to_string_lossy().into_owned());
    let target = target.map(|s| s.to_string_lossy().into_owned());
    let oid = create_table(&source_table, target_table.as_deref(), source, target.as_deref());
    pg_sys::Oid::from_u32(oid.unwrap_or_else(|error| report::raise(error)))
}

// The settings as above: text that the target has written becomes a part of a statement, quoted.
#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_attach(target_table text, server name, local_table text DEFAULT NULL) RETURNS regclass
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET standard_conforming_strings = on
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cgpsync_attach(target_table: Option<String>, server: Option<&CStr>, local_table: Option<String>) -> pg_sys::Oid {
    let (Some(target_table), Some(server)) = (target_table, server) else {
        report::raise(Error::bad_parameter("target_table and server must not be null"));
    };
    let oid = attach(&target_table, &server.to_string_lossy(), local_table.as_deref());
    pg_sys::Oid::from_u32(oid.unwrap_or_else(|error| report::raise(error)))
}

#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_import_config(config jsonb, server name DEFAULT 'cgpsync_source', target name DEFAULT NULL) RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cgpsync_import_config_v2<'a>(config: Option<JsonB>, server: Option<&'a CStr>, target: Option<&'a CStr>) -> &'a CStr {
    import_config(config.map(|value| config::read(&value.0)), server, target)
}

// Takes text too: where jsonb cannot read a file, its error quotes the line, and with it maybe the password.
#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_import_config(config text, server name DEFAULT 'cgpsync_source', target name DEFAULT NULL) RETURNS name
LANGUAGE c VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cgpsync_import_config_text_v2<'a>(
    config: Option<String>,
    server: Option<&'a CStr>,
    target: Option<&'a CStr>,
) -> &'a CStr {
    import_config(config.map(|text| config::parse(&text)), server, target)
}

/// Gives the argument `server` back as it came: a name is 64 bytes to SQL, which no string made here would be.
fn import_config<'a>(config: Option<Result<Config>>, server: Option<&'a CStr>, target: Option<&CStr>) -> &'a CStr {
    let Some(server) = server else {
        report::raise(Error::bad_parameter("server must not be null"));
    };
    let target = target.map(CStr::to_string_lossy);
    config
        .unwrap_or_else(|| Err(Error::bad_parameter("config must not be null")))
        .and_then(|config| import::import(config, &server.to_string_lossy(), target.as_deref()))
        .unwrap_or_else(|error| report::raise(error));
    server
}

#[pg_extern(sql = r#"
CREATE FUNCTION cgpsync_fdw_validator(options text[], catalog oid) RETURNS void
LANGUAGE c STRICT STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn cgpsync_fdw_validator(options: Vec<Option<String>>, catalog: pg_sys::Oid) {
    let place = match catalog {
        pg_sys::ForeignServerRelationId => Some(Place::Server),
        pg_sys::UserMappingRelationId => Some(Place::UserMapping),
        pg_sys::ForeignTableRelationId => Some(Place::Table),
        _ => None,
    };
    let plain_role = !backend::is_superuser();
    for option in options.iter().flatten() {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let result = match place {
            Some(place) => endpoint::validate(name, value, place).and_then(|()| match plain_role {
                true => endpoint::validate_as_plain_role(name, place),
                false => Ok(()),
            }),
            None => Err(endpoint::no_options_here(name)),
        };
        if let Err(error) = result {
            report::raise(error);
        }
    }
}

#[pg_extern(sql = r#"
CREATE FUNCTION _cgpsync_children(parent oid) RETURNS SETOF oid
LANGUAGE c STRICT STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#)]
fn _cgpsync_children(parent: pg_sys::Oid) -> SetOfIterator<'static, pg_sys::Oid> {
    SetOfIterator::new(partition::children_in_bound_order(parent))
}
