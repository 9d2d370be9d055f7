//! cgpsync: keeps big partitioned tables in step with a source cluster. Installed in the target database, driven from SQL.
//! `api` is the surface; `run` does the work; `plan` decides and touches no server; `source` and `targets` are the two ends, `wire` is the way to
//! another server and `catalog` what a server says of its tables; `pg` is the only place with `unsafe`. ARCHITECTURE.md draws who may call whom.
//! Beside them, `config` reads the old tool's config.json and `import` makes a server of it.

pgrx::pg_module_magic!(name, version);

mod api;
mod catalog;
mod config;
mod error;
#[cfg(test)]
mod fuzz;
mod import;
mod page;
mod pg;
mod plan;
mod row;
mod run;
mod settings;
mod source;
mod targets;
mod wire;

pgrx::extension_sql_file!("../sql/tables.sql", name = "tables", bootstrap);
pgrx::extension_sql_file!(
    "../sql/wrapper.sql",
    name = "wrapper",
    requires = [api::cgpsync_fdw_validator]
);
pgrx::extension_sql_file!(
    "../sql/views.sql",
    name = "views",
    requires = ["tables", api::_cgpsync_children, api::_cgpsync_live]
);
pgrx::extension_sql_file!("../sql/comments.sql", name = "comments", finalize);

/// Called when the server loads the library, in sessions and in our processes alike: no preload is needed.
#[pgrx::pg_guard]
#[allow(non_snake_case)]
extern "C-unwind" fn _PG_init() {
    settings::init();
    pg::entry::register(pg::entry::Acts {
        coordinator: run::coordinator::main,
        worker: run::worker::main,
        helper: targets::local::team::help,
        failed: targets::local::team::describe,
    });
}
